"""What a model may write: GBNF grammars, and their making from JSON schemas.

Reading order: gbnf, grammar, ambiguity, json_grammar with its parts, grammar_parts, grammar_state.
"""
