"""Handlers: they apply the rules to an event and write messages and batches into an ``OutputBuilder``."""
