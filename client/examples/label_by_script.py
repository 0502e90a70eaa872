"""Label with a script, as one more annotator: python label_by_script.py PROJECT

Wants PLUMBLINE_URL, and as PLUMBLINE_TOKEN a token for `judge` of the person that the script labels as: invite one for
it, so that its answers can be told from people's and left out by name.
"""

import sys

from plumbline_client import Client, Task

MOST = 200


def main(project: str) -> None:
    judged = 0
    with Client() as client:
        for task in client.project(project).tasks(most=MOST):
            if task.question.answer_type != "seven":
                task.skip("This script knows pairs on the scale of seven alone.")
                continue
            task.judge(choice_of(task), rationale="By length.")
            judged += 1
    print(f"Judged {judged} tasks.")


def choice_of(task: Task) -> int:
    """What your rule or model says, from 1, A is much better, to 7, B is much better. Here the shorter one is."""
    first, second = (len(pane.text) for pane in task.panes)
    return 4 if first == second else 2 if first < second else 6


if __name__ == "__main__":
    main(sys.argv[1])
