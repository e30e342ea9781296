"""Command lines: each file parses its flags and calls one library function."""
