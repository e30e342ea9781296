"""The loop that trains a fleet.

cost          what an iteration costs, relatively
division      which process trains which members
tensorboard   training curves for TensorBoard
monitor       progress bar, metrics, pictures
members       random keys and hyperparameters of members
schedule      which groups train at the same time, on which devices
teams         threads that train them so, and stop together
group         one group of members through all scales, slices and chunks
train         the whole fleet: `train_fleet`
"""
