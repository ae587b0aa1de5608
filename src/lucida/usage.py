"""What the command line says about itself, verb by verb."""

USAGE = """lucida: a workbench and lab for vision-language models

usage: lucida run [--recipe NAME] [--pictures PATH] [--out FOLDER] [--split-seed N] [...]
       lucida run --help      every setting of a recipe
       lucida audit MODEL --pictures PATH [...]
       lucida compare AUDIT AUDIT [--margin 0.02] [--json]
       lucida data construct --pictures PATH [--out FOLDER] [--stages clean,deduplicate,balance] [...]
       lucida data inspect FOLDER
       lucida train --model CLIP|new --pictures PATH [--base-pictures PATH] [--locked vision] [...]
       lucida adapt --model FOLDER --data CHATS [...]
       lucida export SOURCE FOLDER [--format huggingface | open_clip] [--base MODEL] [--share 0.5]
       lucida ask MODEL PICTURE "is there a dog?"
       lucida diagnose RUN [--json | --follow]
       lucida evaluate long-tail --pictures PATH [...]
       lucida evaluate chats --model MODEL --data CHATS [...]
       lucida evaluate pope --questions Q.jsonl --answers A.jsonl [--parser NAME] [--json]
       lucida evaluate chair --captions C.jsonl --objects instances.json [--json]
       lucida evaluate remedies --run RUN [...]
       lucida evaluate instructions --run RUN [...]
       lucida evaluate zero-shot --model CLIP --pictures PATH [...]
       lucida evaluate zero-shot-ablation [--seeds 31 32 33 34 35] [...]
       lucida cluster [--pictures PATH] [...]
       lucida lab list | run NAME ... | run --all | book
       lucida --version

commands:
  run       train a dual encoder and a multimodal LLM, measure them, write report.html; on the artwork that comes with
            lucida, or on your own pictures: a folder, a .csv, .jsonl or .parquet table, a COCO .json, or .tar archives
  audit     how often a vision-language model names what is not there, on your pictures, and whether it looks: POPE,
            CHAIR, twin pictures, calibration, blind baselines, in one report
  compare   two audits of the same questions, pair by pair; exit code 1 if the second is worse beyond a margin and noise
  data      construct: captioned pictures (WebDataset, Parquet, tables, folders, COCO) to pairs worth training on:
            cleaned, without duplicates, balanced by concept; inspect: what stayed, what was dropped, pairs in doubt
  train     tune a CLIP or SigLIP on your pictures, towers locked or not; measured before, after and in between, also on
            pictures of a task that it should not lose; or train a new CLIP from scratch (--model new, sizes by --new.…)
  adapt     train low-rank adapters for a Hugging Face vision-language model on chats about pictures
  export    for transformers: the model of `lucida adapt` with its adapter merged, and what merging did to answers;
            for transformers or open_clip: a CLIP or SigLIP from the other, or tuned in lucida
  ask       put a question about a picture to the multimodal LLM of a finished run, or to a Hugging Face model
  diagnose  say what is wrong with a training run, from its probes: layer, step, evidence, remedy
  evaluate  long-tail: every remedy for rare classes on your labelled pictures, ranked, with a recommendation
            chats: a vision-language model on chats about pictures, their loss and the answers that are right
            pope: answers to "is there a …?", made by any model, scored as ours or as published scripts do
            chair: captions, made by any model: how many of the objects they name are not there
            remedies: every remedy against making things up on the model of a run: what it mends, breaks and costs
            zero-shot: a CLIP or SigLIP on your labelled pictures by the names of their classes, and the prompt
            templates that suit both best
            zero-shot-ablation: what each step of the default dual encoder is worth, over split seeds
  cluster   a Gaussian mixture of your pictures: named clusters, outliers, near-duplicates
  lab       controlled experiments on questions about training, each with a verdict; `book` makes pages of the results
"""

DATA_USAGE = """usage: lucida data construct --pictures PATH [--out FOLDER] [--stages clean,deduplicate,balance]
                             [--format references|webdataset|parquet] [--engine local|ray] [...]
       lucida data construct --help    every setting
       lucida data inspect FOLDER

PATH        WebDataset archives (.tar), Parquet, a .csv or .jsonl table, a folder of them, a folder of pictures with a
            .txt beside each, a COCO captions .json, a folder of the library datasets, or owner/name on the hub
--stages    some of clean, deduplicate and balance, in this order; none with ""
--format    references (where each picture lies), or webdataset or parquet: with the pictures
--captions-only   a table whose pictures are not here yet
--concepts  a file with a concept a line; by default the words of the captions
--deduplicate.same-caption N   of one caption at most N pairs with different pictures; by default all
--encoder   a CLIP or SigLIP (Hugging Face folder or hub name, open_clip folder) or a `lucida run --pictures`, for
            --min-similarity X or --keep-share S: pairs whose picture and caption are near enough, before balancing
            --hard-negatives K: the ids of the K nearest other pairs, with each pair
--engine    ray: the same shards on Ray Data, byte for byte (pip install 'camera-lucida[ray]')

A stage that is finished is not done again. Each has a manifest, and its dropped/ holds every pair that it dropped, with
the reason. Shards are worked through one at a time.

example: lucida data construct --pictures shards/ --out runs/data --format webdataset
         lucida data inspect runs/data
"""

EXPORT_USAGE = """usage: lucida export SOURCE FOLDER [--format huggingface | open_clip] [--base MODEL] [--share SHARE]

SOURCE    a folder of `lucida adapt`: the model is written with its adapter merged into it;
          or a CLIP or SigLIP: a Hugging Face folder or hub name, or an open_clip folder (open_clip_config.json beside
          safetensors and the files of the tokenizer);
          or a run folder whose checkpoints were trained from --base, a CLIP or SigLIP
FOLDER    a new one, which transformers (or open_clip) alone loads
--format  huggingface unless given; open_clip is for CLIP alone, not for SigLIP
--base    what SOURCE was tuned from
--share   of the tuning, 1 unless given; weights between --base and SOURCE often keep most of what both can (WiSE-FT)

The dual encoder of `lucida run` has heads of its own, for which no other library has a place: it is not exported.

example: lucida export runs/adapt my-model
         lucida export my/open-clip my/clip
         lucida export my/clip my/open-clip --format open_clip
         lucida export my/clip-tuned my/clip-between --base my/clip --share 0.5
"""

ASK_USAGE = """usage: lucida ask MODEL PICTURE QUESTION

MODEL     a folder of `lucida run` or `lucida adapt`, or a Hugging Face image-text-to-text model (folder or hub name)

example: lucida ask runs/default a.jpg "is there a dog?"
"""

EVALUATE_USAGE = """usage: lucida evaluate long-tail --pictures PATH [--out FOLDER] [--seeds N] [--ratio R] [...]
       lucida evaluate chats --model MODEL --data CHATS [--pictures FOLDER] [--out FOLDER] [...]
       lucida evaluate pope --questions Q.jsonl --answers A.jsonl [--parser NAME] [--json]
       lucida evaluate chair --captions C.jsonl --objects instances.json [--references captions.json] [--json]
       lucida evaluate remedies --run RUN [--out FOLDER] [--examples N] [...]
       lucida evaluate instructions --run RUN [--out FOLDER] [--stage.scenes N] [--stage.kinds N] [...]
       lucida evaluate zero-shot --model CLIP --pictures PATH [--templates FILE] [--by accuracy|margin] [...]
       lucida evaluate zero-shot-ablation [--seeds 31 32 33 34 35] [--out FOLDER]
       lucida evaluate long-tail|chats|pope|chair|remedies|instructions|zero-shot --help    every setting

PATH     labelled pictures: a folder for each class, a table with a column "label", Parquet
--ratio  thins the classes to this imbalance first, to see on balanced data what a long tail does

MODEL    a Hugging Face vision-language model (folder or hub name) or a folder of `lucida adapt`
CHATS    LLaVA's JSON, or JSON lines with "messages"; the loss of their answers, and how many are given word for word

Q.jsonl  rows with question_id, image, text ("Is there a dog in the image?") and label (yes or no)
A.jsonl  rows with question_id and answer (or text), in any order
C.jsonl  rows with image_id (or image) and caption (or text); the pictures themselves are not needed
--parser lucida (the default), pope, llava, opera, vcd or lmms-eval: how the answers are read

CLIP     a CLIP or SigLIP: a Hugging Face folder or hub name, or an open_clip folder
--templates  a file with a prompt template a line, such as "a photo of a {}."; the best set of these and of ours is
         searched on the pictures outside the test split, and measured on that

example: lucida evaluate long-tail --pictures my/pictures
         lucida evaluate chats --model runs/adapt --data held-out.json
         lucida evaluate chair --captions captions.jsonl --objects instances_val2014.json
         lucida evaluate pope --questions coco_pope_popular.json --answers answers.jsonl
         lucida evaluate zero-shot --model my/clip --pictures my/pictures
"""

LAB_USAGE = """usage: lucida lab list
       lucida lab run NAME ... [--scale quick|full] [--seeds N] [--out FOLDER]
       lucida lab run --all [...]
       lucida lab book [--results FOLDER] [--out FOLDER]

example: lucida lab run vanishing-gradients
"""

DIAGNOSE_USAGE = """usage: lucida diagnose RUN [--json]
       lucida diagnose RUN --follow [--idle SECONDS]

RUN       a folder of `lucida run`, a folder with probes.jsonl, or that file
--json    one JSON object alone
--follow  watch a run that trains: loss, gradients by layer, findings; a line a probe where there is no terminal.
          It ends when the run ends with an error, and with Ctrl-C
--idle    end after so many seconds without a new row, too

example: lucida diagnose runs/default
"""


AUDIT_USAGE = """usage: lucida audit MODEL --pictures PATH [--vocabulary FILE] [--out FOLDER] [...]

MODEL       a Hugging Face image-text-to-text model (folder or hub name), or a folder of `lucida run` or `lucida adapt`
PATH        COCO's instances .json, or another source whose pictures list all their objects
--vocabulary  a line for each name that may be asked for: "dog: puppy, hound"; all names of PATH unless given

Nothing is trained. The report has POPE (random, popular, adversarial), CHAIR by length, twin pictures without one
object and with one more, calibration, and the same questions with another picture and with none; questions.jsonl and
answers.jsonl are kept for `lucida evaluate pope`.

example: lucida audit my/llava --pictures coco/annotations/instances_val2017.json
"""


COMPARE_USAGE = """usage: lucida compare FIRST SECOND [--margin SHARE] [--json]

FIRST, SECOND   folders of `lucida audit` with the same questions: two models, checkpoints or ways to decode
--margin        by which a measure may get worse, 0.02 (two points) unless given
--json          one JSON object alone

Intervals are of paired differences, pictures kept together. The exit code is 1 if the second is worse by more than the
margin and its interval excludes no difference, 0 otherwise, 2 for bad input.

example: lucida compare runs/audit-before runs/audit-after
"""
