"""Who signs in to the site of every release."""

EMAIL = "owner@example.org"
PASSWORD = "a horse, a battery"
