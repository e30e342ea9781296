"""Training classifiers, and what they say of test patches.

training   protocol, sampling and loss, common to heads and networks
features   of a frozen backbone, each computed once
epochs     how well a classifier does after each epoch
heads      linear heads on features, many at a time
finetune   a backbone's last stage, or all of it, with its head
kept       trained classifiers in files
predict    trains all classifiers of a plan, a file of predictions for each
retest     kept classifiers, and ensembles of them, on other patches
"""
