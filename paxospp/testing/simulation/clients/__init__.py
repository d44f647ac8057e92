"""The clients of a run: they make calls, follow change feeds, and report both to the call history."""
