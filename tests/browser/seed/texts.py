"""What is asked and answered in the seeded project."""

PROMPTS = (
    "How do I get candle wax out of a tablecloth?",
    "My neighbour’s dog barks all night. What should I do?",
    "Give me a few tips for learning to cycle as an adult.",
    "Please explain how to descale a kettle.",
    "What matters most when choosing a rucksack for a long walk?",
    "I would like to bake bread without a machine. Where do I start?",
    "How do I tell my landlord that the heating is broken?",
    "Write a short guide to keeping herbs on a windowsill.",
)
POLICY = (
    "Let the wax set hard, then lift off what you can with a blunt knife. Lay kitchen paper above and below the stain "
    "and press with a warm iron until the paper takes up the rest. Wash as usual afterwards."
)
REFERENCE = (
    "Wax is wax. You can try to wash it. Washing is good for many things and the tablecloth is one of these things."
)
