"""mpflow in services: one module a protocol or framework, each imported by those who use it.

Knows: nothing by itself. Must not know: any framework that is not installed.
"""

__all__: list[str] = []
