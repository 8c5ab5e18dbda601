"""Tables of papers: read as printed, and compared with themselves and with data sets."""
