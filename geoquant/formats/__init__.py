"""Strict readers of arrays in files, one module for each format; nothing in a file is executed.

Each gives what a file's header says of an array before any of its numbers are read, and refuses
what does not agree with the size of the file or with the memory there is.
"""
