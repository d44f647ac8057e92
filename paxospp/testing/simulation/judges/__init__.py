"""The checks of a run: each judges what nodes say, write, apply and answer, with every disk and message in view."""
