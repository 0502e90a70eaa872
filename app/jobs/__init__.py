"""The worker: it claims runs, starts training in processes of its own, and brings in what they leave."""
