"""What a model may write: GBNF grammars, and their making from JSON schemas.

Reading order: grammar, json_grammar, json_schemas, the parts, grammar_state.
"""
