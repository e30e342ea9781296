"""What runs where.

sharding     members over devices: the only file with meshes and other processes
packs        members side by side, on a TPU
bucket       what members of one shape share: pyramid and shapes of arrays
programs     the compiled programs of a bucket
hosts        joining the other processes of a run
preemption   stopping in good order: on SIGTERM, and all processes together
"""
