"""Runs SQL from standard input, statement by statement, and prints the rows of the last one that
gives any, tab by tab, floats as their bits. Called by duckdb.rs."""

import struct
import sys

import duckdb


def cell(value):
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    return "null" if value is None else str(value)


connection = duckdb.connect()
for statement in duckdb.extract_statements(sys.stdin.read()):
    rows = connection.execute(statement).fetchall()
for row in rows:
    print("\t".join(map(cell, row)))
