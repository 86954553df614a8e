"""Side-by-side measurements of this server and others: ``make bench``."""
