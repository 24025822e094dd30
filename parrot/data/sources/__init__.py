"""From files as their publishers ship them to records: formats.yaml says how, odd.py names the exceptions."""
