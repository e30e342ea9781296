"""Training classifiers, and what they say of test patches.

training   protocol, sampling and loss, common to heads and networks
features   of a frozen backbone, each computed once
heads      linear heads on features, many at a time
finetune   a backbone's last stage, or all of it, with its head
predict    trains all classifiers of a plan, a file of predictions for each
"""
