"""The words by which an answer to "is there a …?" says yes, no or neither, for :mod:`lucida.evaluation.answers`.

All patterns read plain text (lower case, no mark-up, see :func:`lucida.evaluation.answers.plain`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

YesNo = Literal["yes", "no", "abstain"]

# Openings that say nothing.
FILLERS = re.compile(
    r"^(?:(?:answer|a|assistant|response|output|final answer)\s*:|"
    r"(?:the|my) (?:final |correct )?answer(?: to (?:your|the|this) question)? (?:is|would be)\b|"
    r"(?:well|so|oh|ok|okay|hm+|um+|uh+|hi|hello|sure(?! (?:is|does|thing))|right|actually|now|"
    r"based on the (?:image|picture|photo)|"
    r"looking at (?:the|this) (?:image|picture|photo)|(?:in|from) (?:the|this) (?:image|picture|photo|scene)|"
    r"i(?: would|'d) say|i (?:think|believe)(?! (?:so|not)\b)|i guess(?= (?:yes|no|there))|"
    r"i (?:must|have to|would have to) say|it (?:seems|looks|appears)(?: like| that| to me)?)\b)[\s,:.\-]*(?=\S)"
)
# What the first words decide.
LEADING_ABSTAIN = re.compile(
    r"^(?:(?:yes|no) (?:or|and) (?:yes|no)\b|(?:yes|no)\s*/\s*(?:yes|no)\b|both yes and no\b|neither yes nor no\b|"
    r"no (?:idea|clue|way (?:to|of)|comment|answer|opinion|one can (?:say|tell|know)|information|image|picture|"
    r"photo)\b|if\b|none of the above\b|"
    r"(?:(?:yes|no)[\s,.;|/]+)*(?:yes[\s,.;|/]+no|no[\s,.;|/]+yes)(?:[\s,.;|/]+(?:yes|no))*[\s,.;|/]*$)"
)
LEADING_NO = re.compile(
    r"^(?:no+|nope|nah|nay|negative|false|incorrect|wrong|none|never|nothing|nowhere|zero|not at all|by no means|"
    r"(?:definitely|certainly|absolutely|probably|most likely|of course|likely|clearly|surely|i guess|apparently) not|"
    r"not (?:in|that i|really|visible|present|here|there|any|a|an|one)|unlikely|i think not|i don't think so)\b"
)
LEADING_YES = re.compile(
    r"^(?:yes+|yeah|yep|yup|yea|ya|aye|affirmative|correct|true|indeed|certainly|definitely|absolutely|of course|"
    r"for sure|(?:most )?(?:probably|likely) (?:yes|so)|i guess so|right|sure (?:is|does|thing)|positive|"
    r"without (?:a |any )?doubt(?=$|\.)|"
    r"(?:exactly |about |only |at least )?(?:one|two|three|four|five|six|seven|eight|nine|ten)(?=$|\.))\b"
)
# What decides a clause, in this order.
HEDGE = re.compile(
    r"\b(?:not (?:sure|certain|clear|possible|confident|able|enough|obvious|known|definitive)|unsure|uncertain|unclear|"
    r"maybe|perhaps|possibly|might|may(?! \d)|could (?:be|have|also|contain)|hard to|difficult to|tough to|"
    r"impossible to|unable to|depends|ambiguous|unknown|(?:don't|do not|doesn't|cannot|can't|can not|couldn't) "
    r"(?:really |even )?(?:know|tell|say|determine|be (?:determined|sure|certain|seen clearly)|answer|make out|"
    r"confirm|identify|verify|provide|assist|help|view|process|understand|make (?:it|this|that|anything) out)|"
    r"(?:some|others) (?:would|might|may) say|"
    r"(?:cannot|can't|can not|couldn't|don't|do not) (?:\w+ )?see (?:the |this |that |your |any )?"
    r"(?:image|picture|photo|images|pictures|photos|whether|if|clearly|well|enough|anything)|"
    r"(?:too|very) (?:dark|blurry|small|blurred) to|sorry|as an ai|i have no (?:idea|way|clue)|no way (?:to|of)|"
    r"no idea|no clue|(?:hard|tricky|good) question|guess(?:ing)?|possible|possibility|either .+ or|"
    r"neither confirm|can be determined)\b"
)
NOT_A_NEGATION = re.compile(
    r"\b(?:not only|not just|not merely|no doubt|without (?:a |any )?doubt|no question|"
    r"can(?:'t|not) miss)\b"
)
NEGATIVE = re.compile(
    r"\b(?:no|not|none|nothing|neither|nor|nowhere|never|without|absent|missing|lacks?|lacking|\w+n't|cannot|"
    r"fail(?:s|ed)? to|devoid|free of|zero|nope|nobody|0|(?:i|we) (?:really |highly )?doubt|"
    r"(?:wrong|false|incorrect) to say|(?:it is|it's|that is|that's) (?:false|wrong|incorrect)|"
    r"(?:is|are|was|do|does|ca|wo)nt)\b"
)
POSITIVE = re.compile(
    r"\b(?:there?(?:'s| is| are| was| were| appears? to be| seems? to be|'re)|(?:i|you|we)(?: can| could|'ve)?"
    r"(?: clearly)? (?:see|spot|find|found|saw|notice|seen)|i (?:do|think so|believe so)|"
    r"it (?:is|does|has|shows|contains)|it's|"
    r"(?:is|are|was|were) (?:\w+ )?(?:present|visible|shown|depicted|seen|there|here|included|in|on|at|one|sitting|"
    r"standing|lying)|contains?|shows?|has|have|includes?|features?|depicts?|can be seen|appears?|exists?|present|"
    r"visible|yes|correct|true)\b|^(?:one|two|three|four|five|\d+|several|many|some|both) of (?:them|those)\b"
)
PRONOUN = re.compile(r"\b(?:it|one|any|that|so|them|this|those|these|some|such)\b|\b(?:there|i|here) \S+$|n't$|\bnot$")
NO_NOUN = re.compile(
    r"^no (?!(?:no|it|there|i|we|you|he|she|they|the|this|that|a|an|but|because|as|since|only|just|sorry|not|and)\b)\w"
)
# "There are three", "there is none": the noun is left out.
ELLIPSIS = re.compile(
    r"\b(?:is|are|see|count|find) (?:only |just )?(?:none|zero|one|two|three|four|five|six|seven|eight|nine|ten|"
    r"several|many|some|both|\d+)$"
)
BARE = re.compile(r"^(?:(?:so|and|then|thus|hence|therefore|finally|but|yes|no)\s+)*(?:yes+|no+|nope|yeah|yep)$")
NOBODY = re.compile(r"\b(?:nobody|no one|no-one|anyone|anybody)\b")
# A noun behind one of these is another thing: a hot dog is no dog.
OTHER_THING = {"dog": ("hot ", "corn ", "chili "), "bear": ("teddy ",), "horse": ("sea ",), "pig": ("guinea ",)}
# A noun that is a colour, too: without an article, or before another noun, it names no fruit.
COLOUR = re.compile(
    r"(?<!an )\borange\b|\borange (?!(?:is|are|in|on|and|or|with|next|that|which|beside|near|lies|sits)\b)\w"
)
ASIDE = re.compile(r"\b(?:that|which|who|without|with|and|or|wearing|holding)\b")
CLAUSE_END = re.compile(r"[.!?;\n,]+|\s[-–—]+\s|\b(?:but|however|although|though|yet|because)\b")

# The answer is what comes behind the last of these: "Yes... actually no".
RETRACTION = re.compile(r"\b(?:actually|wait|hold on|correction|i mean|scratch that|or rather)\b[\s,.:;!\-]*(yes|no)\b")
QUESTION = re.compile(
    r"(?:^|(?<=[.!?\n]))\s*(?:is|are|do|does|did|can|could|would|should|what|which|where|why|how|who)\b[^.!?\n]*\?"
)
LIST_MARK = re.compile(r"^\(?(?:\d{1,2}|[a-h])[.)]\s+(?=\S)")
SIGNS: Mapping[str, YesNo] = {
    **dict.fromkeys("\N{WHITE HEAVY CHECK MARK}\N{HEAVY CHECK MARK}\N{BALLOT BOX WITH CHECK}\N{THUMBS UP SIGN}", "yes"),
    **dict.fromkeys(
        "\N{CROSS MARK}\N{HEAVY BALLOT X}\N{BALLOT X}\N{NEGATIVE SQUARED CROSS MARK}\N{THUMBS DOWN SIGN}", "no"
    ),
}
# "Yes" and "no" of other languages, where they lead; what is "no" in Spanish, Italian and Portuguese is English too.
FOREIGN: Mapping[str, YesNo] = {
    **dict.fromkeys(("ja", "jawohl", "oui", "sí", "si", "sì", "sim", "tak", "evet", "да", "так", "ναι"), "yes"),
    **dict.fromkeys(("nein", "non", "não", "nao", "nee", "nie", "nej", "hayır", "нет", "ні", "όχι"), "no"),
}
FOREIGN_STATEMENTS: Sequence[tuple[re.Pattern[str], YesNo]] = (
    (re.compile(r"\bkein(?:e|en|er|es)?\b(?! ahnung)|^no hay\b|\bn'y a (?:pas|aucun)|\bnon c'è|\bnão há\b"), "no"),
    (
        re.compile(
            r"^es gibt\b|^hay (?:un|una|unos|unas)\b|^il y a (?:un|une|des)\b|^há (?:um|uma)\b|^c'è (?:un|una)\b"
        ),
        "yes",
    ),
)
# Without blanks between words: the longest beginning counts.
UNSPACED: Mapping[str, YesNo] = {
    **dict.fromkeys(("是", "是的", "有", "有的", "对", "はい", "ええ", "네", "예"), "yes"),
    **dict.fromkeys(("不", "不是", "没有", "没", "否", "無", "いいえ", "아니요", "아니오"), "no"),
    **dict.fromkeys(("不知道", "不确定", "不清楚", "不一定", "不能", "有可能", "有没有", "是否", "是不是"), "abstain"),
}

# One word, or a value in JSON, that is all of the answer.
WHOLE: Mapping[str, YesNo] = {"y": "yes", "n": "no", "1": "yes", "0": "no"}
JSON_VALUE = re.compile(
    r'"(?:answer|(?:is_)?present|exists?|visible|result|label|response)"\s*:\s*"?(yes|no|true|false)"?\s*[,}\n]',
    re.IGNORECASE,
)
# What stands behind the last of these is the answer, if anything does.
SPEAKER = re.compile(r"\b(?:assistant|final answer|answer|response)\s*:\s*(?=\S)", re.IGNORECASE)
OPTION = re.compile(r"^\s*(?:[Oo]ption\s+)?[(\[]?(?:[A-Da-d]|\d{1,2})[)\].:]\s+(?=\S)")
# Not a statement about the picture, though it may name the object.
NO_STATEMENT = re.compile(r"\b(?:if|whether|resembles?|looks? like|similar to|instead of|rather than|otherwise)\b")
DOUBLE_NEGATION = re.compile(r"\bnot (?:true|the case|correct|right) that there (?:is|are) (?:no|not)\b")
ABSENT = re.compile(
    r"\b(?:there (?:is|are|was|were) (?:no|not)|there (?:isn't|aren't|wasn't|weren't))\b|^no\b|^not an?\b"
)
WEAK_YES = re.compile(r"^i (?:think|believe|guess) so\b")
CONCLUSION = re.compile(r"\b(?:so|therefore|thus|hence|the answer is)[\s,:]+(yes|no)$")
