"""Every command of docs/import.md reads a file of the shape that it is for."""

from __future__ import annotations

import gzip
import json
import shlex
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from flows.cli.app import run
from tests.flows.support.pages import ROOT, blocks_of

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    line
    for block in blocks_of(ROOT / "docs" / "import.md")
    for line in block.code.splitlines()
    if line.strip()
]
AT = "2026-01-05T08:00:00Z"
STEPS = (
    "Row\tAnon Student Id\tProblem Name\tStep Name\tFirst Transaction Time\t"
    "Correct First Attempt\tKC(SubSkills)\tOpportunity(SubSkills)\n"
    '1\tann\t5" disc\tS1\t2006-10-26 09:52:30.0\t1\tadd~~carry\t1~~1\n'
    "2\tann\tP1\tS2\t2006-10-26 09:53:30.0\t0\t\t\n"
)
TRANSACTIONS = (
    "Row\tTransaction Id\tAnon Student Id\tTime\tProblem Name\tStep Name\tAttempt At Step\t"
    "Outcome\tKC (Default)\tKC Category (Default)\tKC (Default)\tKC (Single)\n"
    "1\tt1\tann\t2006-10-26 09:52:30\tP1\tS1\t1\tINCORRECT\tadd\t\tcarry\tall\n"
    "2\tt2\tann\t2006-10-26 09:52:35\tP1\tS1\t2\tCORRECT\tadd\t\t\tall\n"
    "3\tt3\tann\t2006-10-26 09:52:36\tP1\tS2\t1\tHINT\tadd\t\t\tall\n"
    "4\tt4\tann\t2006-10-26 09:52:37\tP1\t\t\t\t\t\t\tall\n"
)
STATEMENTS = [
    {
        "id": "s1", "actor": {"mbox": "mailto:ann@example.org"}, "verb": {"id": "answered"},
        "object": {"id": "q1"}, "result": {"success": True}, "timestamp": AT,
        "context": {"contextActivities": {"parent": [{"id": "add"}]}},
    },
    {
        "id": "s2", "actor": {"mbox": "mailto:ann@example.org"}, "verb": {"id": "opened"},
        "object": {"id": "q1"}, "timestamp": AT,
    },
]  # fmt: skip
FILES = {
    "answers.csv": "student,skill,right?,when\nann,add,yes,2026-01-05 08:00\n",
    "skill_builder_data.csv": (
        "order_id,assignment_id,user_id,problem_id,original,correct,skill_id,skill_name\n"
        "30,1,7,9,1,0,1,Area\n20,1,7,8,1,1,1,Area\n20,1,7,8,1,1,2,Volume\n40,1,7,8,1,1,,\n"
    ),
    "2012-2013-data-with-predictions-4-final.csv": (
        "problem_log_id,skill,problem_id,user_id,start_time,end_time,correct,skill_id\n"
        "1,Area,9,7,2012-09-28 15:11:24.000,2012-09-28 15:11:30.000,1,3\n"
        "2,Area,8,7,2012-09-28 15:12:24.123,2012-09-28 15:12:30.000,0,3\n"
    ),
    "2015_100_skill_builders_main_problems.csv": (
        "user_id,log_id,sequence_id,correct\n50121,167478035,7014,0\n50121,167478043,7014,1\n"
        "50121,167478053,7014,0.25\n"
    ),
    "anonymized_full_release_competition_dataset.csv": (
        "studentId,MiddleSchoolId,skill,problemId,startTime,timeTaken,correct,action_num\n"
        "8,2,Area,9,1096470301,53,1,1\n8,2,Area,9,1096470351,53,0,2\n"
    ),
    "algebra_2005_2006_train.txt": STEPS,
    "ds_tx_All_Data.txt": TRANSACTIONS,
    "KT1/u1.csv": (
        "timestamp,solving_id,question_id,user_answer,elapsed_time\n"
        "1565096190868,1,q5012,b,38000\n1565096221062,2,q4706,c,24000\n"
    ),
    "KT1/u2.csv": (
        "timestamp,solving_id,question_id,user_answer,elapsed_time\n1565096190868,1,q4706,d,1\n"
    ),
    "contents/questions.csv": (
        "question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at\n"
        "q5012,b1,e1,b,1,1;2;179,1558093217098\nq4706,b2,e2,d,1,15,1558093219720\n"
    ),
    "train.csv": (
        "row_id,timestamp,user_id,content_id,content_type_id,task_container_id,user_answer,"
        "answered_correctly,prior_question_elapsed_time\n"
        "0,0,115,5692,0,1,3,1,\n1,56943,115,5716,0,2,2,0,37000.0\n2,60000,115,6,1,0,-1,-1,\n"
    ),
    "questions.csv": (
        "question_id,bundle_id,correct_answer,part,tags\n5692,1,3,5,151 38\n5716,2,1,5,38\n"
    ),
    "junyi_ProblemLog_original.csv": (
        "user_id,exercise,problem_type,problem_number,time_done,time_taken,correct\n"
        "12884,time_terminology,analog_word,1,1420714810324170,8,true\n"
        "12884,time_terminology,analog_word,2,1420714820324170,8,false\n"
    ),
    "Log_Problem.csv": (
        "timestamp_TW,uuid,ucid,upid,problem_number,is_correct,total_sec_taken,level\n"
        "2019-06-05 22:45:00 UTC,U1,C1,P1,1,True,7,0\n"
        "2019-06-05 22:45:00 UTC,U1,C1,P2,2,False,7,0\n"
    ),
    "train_task_1_2.csv": (
        "QuestionId,UserId,AnswerId,IsCorrect,CorrectAnswer,AnswerValue\n"
        "16997,11358,1,1,3,3\n16998,11358,2,0,3,1\n"
    ),
    "answer_metadata_task_1_2.csv": (
        "AnswerId,DateAnswered,Confidence\n1,2020-02-20 09:25:00.000,75.0\n"
        "2,2020-02-20 09:26:00.000,\n"
    ),
    "question_metadata_task_1_2.csv": (
        'QuestionId,SubjectId\n16997,"[3, 71, 98]"\n16998,"[3, 32]"\n'
    ),
    "oatutor_submissions.csv": (
        "id,time_stamp,oats_user_id,problemID,stepID,knowledgeComponents,isCorrect,eventType\n"
        "e1,1689638400000,ann,p1,p1a,\"['add', 'carry']\",true,answerStep\n"
        "e2,1689638401000,ann,p1,p1a,\"['add']\",,unlockHint\n"
    ),
    "statements.jsonl": "\n".join(map(json.dumps, STATEMENTS)),
    "hmm_scalable.txt": "1\tann\tq1\tadd~carry\n2\tann\tq2\tadd\n2\tbob\tq1\tadd\n",
    "as.csv": "order_id,user_id,skill_name,correct,problem_id\n1,ann,add,1,p\n2,ann,add,0,p\n",
    "excel.csv": (
        "Student;Topic;Result;When\nann;add;1;05.01.2026 08:00\nbob;add;0;06.01.2026 09:30\n"
    ),
    "events.csv.gz": (
        "user_id,concept_id,correct,attempted_at,kind\n"
        "ann,add,1,1767600000000,question\nann,add,,1767600000000,lecture\n"
    ),
    "keyed.csv": (
        "user_id,concept_id,user_answer,correct_answer,attempted_at\n"
        f"ann,add,b,b,{AT}\nann,add,a,b,{AT}\n"
    ),
    "one_user.tsv": f"concept_id\tcorrect\tattempted_at\nadd\t1\t{AT}\n",
    "bare.csv": f"ann,q1,add,1,{AT}\nann,q1,add,0,{AT}\n",
    "retries.csv": (
        "user_id,question_id,concept_id,correct,attempted_at\n"
        f"ann,q,add,0,{AT}\nann,q,add,1,2026-01-05T08:00:09Z\nann,q,add,1,2026-01-06T08:00:09Z\n"
    ),
}
#: What `bkt export attempts` writes of three ids that a spreadsheet would take for formulas.
FILES["exported.csv"] = (
    "attempt_id,source,user_id,question_id,concept_id,correct,attempted_at,created_at\n"
    f"1,,'=1+1,,'-add,1,{AT},{AT}\n2,,''ann,,add,0,{AT},{AT}\n"
)
#: What each command stores: (user, concept, correct) in the order of ids; and skipped rows.
STORED = {
    "skill_builder_data.csv": ([("7", "Area", 0), ("7", "Area", 1), ("7", "Volume", 1)], 0),
    "2012-2013-data-with-predictions-4-final.csv": ([("7", "Area", 1), ("7", "Area", 0)], 0),
    "2015_100_skill_builders_main_problems.csv": (
        [("50121", "7014", 0), ("50121", "7014", 1)], 0),
    "anonymized_full_release_competition_dataset.csv": (
        [("8", "Area", 1), ("8", "Area", 0)], 0),
    "algebra_2005_2006_train.txt": ([("ann", "add", 1), ("ann", "carry", 1)], 0),
    "KT1": (
        [("u1", "1", 1), ("u1", "2", 1), ("u1", "179", 1), ("u1", "15", 0), ("u2", "15", 1)],
        0),
    "train.csv": ([("115", "151", 1), ("115", "38", 1), ("115", "38", 0)], 1),
    "junyi_ProblemLog_original.csv": (
        [("12884", "time_terminology", 1), ("12884", "time_terminology", 0)], 0),
    "Log_Problem.csv": ([("U1", "C1", 1), ("U1", "C1", 0)], 0),
    "train_task_1_2.csv": (
        [("11358", "3", 1), ("11358", "71", 1), ("11358", "98", 1),
         ("11358", "3", 0), ("11358", "32", 0)], 0),
    "oatutor_submissions.csv": ([("ann", "add", 1), ("ann", "carry", 1)], 1),
    "statements.jsonl": ([("mailto:ann@example.org", "add", 1)], 1),
    "hmm_scalable.txt": (
        [("ann", "add", 1), ("ann", "carry", 1), ("ann", "add", 0), ("bob", "add", 0)], 0),
    "as.csv": ([("ann", "add", 1), ("ann", "add", 0)], 0),
    "excel.csv": ([("ann", "add", 1), ("bob", "add", 0)], 0),
    "events.csv.gz": ([("ann", "add", 1)], 1),
    "keyed.csv": ([("ann", "add", 1), ("ann", "add", 0)], 0),
    "one_user.tsv": ([("u42", "add", 1)], 0),
    "bare.csv": ([("ann", "add", 1), ("ann", "add", 0)], 0),
    "exported.csv": ([("=1+1", "-add", 1), ("'ann", "add", 0)], 0),
    "retries.csv": ([("ann", "add", 0), ("ann", "add", 1)], 1),
}  # fmt: skip
#: The commands of DataShop's transactions read one file in two ways.
TRANSACTION_ROWS = {
    False: ([("ann", "add", 0), ("ann", "carry", 0), ("ann", "add", 1), ("ann", "add", 0)], 1),
    True: ([("ann", "all", 0), ("ann", "all", 0)], 2),
}


@pytest.fixture
def here(bkt_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation, and a folder with a file of every shape."""
    folder = tmp_path / "files"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = content.encode()
        path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    monkeypatch.chdir(folder)
    assert run(["init"]) == 0
    return bkt_home


def stored(home: Path) -> list[tuple[object, ...]]:
    """What was imported, in the order of ids."""
    engine = create_engine(f"sqlite:///{home / 'bkt.db'}")
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT user_id, concept_id, correct FROM attempts ORDER BY id")
        )
        found = [tuple(row) for row in rows]
    engine.dispose()
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda line: line[11:60])
def test_every_command_of_the_page_reads_its_file(
    here: Path, command: str, capsys: pytest.CaptureFixture[str]
):
    """Rows and counts as written out above; the counts add up."""
    words = shlex.split(command)[1:]
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    if "--preview" in words:
        assert stored(here) == []
        (file,) = told["files"]
        assert file["mapping"] == {
            "user_id": "student", "concept_id": "skill", "correct": "right?",
            "attempted_at": "when",
        }  # fmt: skip
        assert file["rows"]["accepted"] == 1
        return
    rows = told["rows"]
    parts = ("accepted", "duplicates", "quarantined", "skipped")
    assert rows["read"] == sum(rows[name] for name in parts)
    expected, skipped = STORED.get(words[1]) or TRANSACTION_ROWS["--first-attempts" in words]
    assert (stored(here), rows["skipped"]) == (expected, skipped)


def test_the_page_names_every_layout():
    """An export that is added has its command there."""
    from datasets.attempt_files.values.plans import Layout

    named = {words[words.index("--layout") + 1] for words in map(shlex.split, COMMANDS)
             if "--layout" in words}  # fmt: skip
    assert named == {layout.value for layout in Layout} - {"plain"}


def test_a_file_that_cannot_be_read_ends_with_the_command_that_would(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    """The flags are those that a preview suggests; nothing is stored."""
    assert run(["import", "excel.csv"]) == 1
    told = capsys.readouterr().err
    assert "--delimiter ';' --map user_id=Student --map concept_id=Topic" in told
    assert "--map correct=Result --map attempted_at=When --time-format '%d.%m.%Y %H:%M'" in told
    assert stored(here) == []


def test_a_preview_shows_a_person_what_would_happen(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    """Columns, mapping, counts, and the command; exit 3 where it could not be imported."""
    capsys.readouterr()
    assert run(["import", "ds_tx_All_Data.txt", "--preview"]) == 0
    told = capsys.readouterr().out
    assert "--layout datashop --time-zone UTC" in told
    assert "3 accepted, 0 duplicates, 0 quarantined, 1 skipped" in told
    assert run(["import", "contents/questions.csv", "--preview"]) == 3
    assert "cannot be imported yet" in capsys.readouterr().out
    assert stored(here) == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--quote", "single"], ["--time-origin", "yesterday"], ["--within", "5"],
        ["--within", "5m"], ["--set", "user_id"], ["--skip", "x"], ["--columns", "a,,b"],
        ["--time-unit", "s", "--time-format", "%Y"], ["--correct-if", "a"],
        ["--kc-model", "x"], ["--time-origin", "2026-01-01"], ["--set", "person=x"],
        ["--right", "x", "--wrong", "X"], ["--join", "none.csv"], ["--time-format", "%Q"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_flags_that_mean_nothing_are_refused_in_a_sentence(
    here: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    """Exit 1 or 2, the flag by its name, nothing stored."""
    capsys.readouterr()
    assert run(["import", "retries.csv", *flags]) in (1, 2)
    told = capsys.readouterr().err
    assert flags[0] in told or flags[-2] in told
    assert "Traceback" not in told
    assert stored(here) == []
