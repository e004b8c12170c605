"""The HTTP API and the webhooks: requests are understood, permitted and passed on."""
