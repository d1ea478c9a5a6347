"""FER2013, whole: open the data, balance it, train, and understand the mistakes. `python -m fer_core --help`."""

__version__ = "0.6.0"
