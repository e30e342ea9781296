"""One member at one scale: pure functions, without any notion of a fleet or of devices.

pyramid       how many scales, of what size, and the resize between them
layout        several members side by side in one array
networks      generator and discriminator
losses        critic, gradient penalty, reconstruction
generate      the walk through frozen scales, in training and in sampling
optimiser     Adam
train_step    one iteration: critic steps, then generator steps
isolation     a member that goes wrong leaves its neighbours alone
train_scale   a scale from its start, by chunks of iterations, to its freezing
"""
