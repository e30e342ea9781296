"""What is on disk: a fleet's work folder.

record       fleet.json: config and members; the lock
adopt        which given image is which member's
enroll       images to members
checkpoint   arrays; the only file that imports orbax
finished     finished scales, and which members went wrong
merge        one fleet made of those trained in shards
"""
