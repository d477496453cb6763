"""Messages to tokens and text back to messages: templates, tools, reasoning, infilling.

Reading order: chat_template, prompts, tool_plan, tool_formats, output_parser, detokenizer.
"""
