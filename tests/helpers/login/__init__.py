"""Login services, their tokens, and the tokens of attackers."""
