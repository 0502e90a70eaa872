"""Writers side by side: policies and served models, by what people say of them."""
