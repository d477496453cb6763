"""Logits to the next token of one sequence.

Reading order: sampler, sampler_chain, candidates, logprobs, sampling_checks.
"""
