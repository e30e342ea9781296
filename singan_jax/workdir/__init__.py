"""What is on disk: a fleet's work folder.

record       fleet.json: config and members; the lock
checkpoint   arrays; the only file that imports orbax
finished     finished scales, and which members went wrong
merge        one fleet made of those trained in shards
"""
