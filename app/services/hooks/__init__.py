"""Webhooks: addresses of other programs that are told of what happens here, by Standard Webhooks."""
