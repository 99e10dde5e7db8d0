"""The bus: the only door to Redis Streams.

Appending is coalesced (appender), logs are read by consumer groups in order per key (reader, lanes, group), delivery
streams are followed by a cursor (cursor).
"""
