"""Weights of pinclip, found by its entry point; pinclip.weights reads the files beside this one."""
