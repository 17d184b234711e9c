"""The tests mirror the house; helpers are imported as `tests.clock` and its like."""
