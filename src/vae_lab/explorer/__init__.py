"""The latent space of a trained run in the browser: a WSGI application, served by a command or as a tab of TensorBoard.

Importing this package loads no torch: only a run that is opened does.
"""
