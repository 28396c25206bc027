"""The bounds that keep a bad text from costing more than an error message."""

MAX_TEXT = 250_000  # characters
MAX_NESTING = 64  # brackets inside brackets
MAX_LAYERS = 10_000  # after repeats
MAX_EXPERTS = 1_024  # in one column, after copies
MAX_DEFINITIONS = 500  # names in one text
MAX_PARTS = 500_000  # configs in one stack, each counted as often as it is used
MAX_DIGITS = 12  # of a number
MAX_ERRORS = 50  # reported for one text
MAX_INCLUDES = 16  # files inside files
