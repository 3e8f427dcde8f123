"""The REST API over the engine: parse and check the shape, call one statement, shape the answer."""
