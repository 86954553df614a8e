"""Login services, their tokens, and those of attackers."""
