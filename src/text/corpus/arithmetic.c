/* Word problems, solved step by step with calculator annotations. */
#include "corpus.h"

static const char *const persons[] = {"a farmer", "a baker", "a teacher", "a shopkeeper", "a driver", "a painter", "a student", "a gardener",
                                      "a cook", "a builder", "a tailor", "a nurse"};
static const char *const goods[] = {"apples", "eggs", "books", "pencils", "tickets", "boxes", "flowers", "coins", "cups", "candles", "stones",
                                    "oranges", "stamps", "nails"};
static const char *const holders[] = {"bags", "baskets", "trays", "rows", "crates", "shelves"};

enum { WORDINGS = 3 };

/* {0} who, {1} what, {2} in what; {a}, {b}, {c} given, then the results. */
static const struct problem {
    const char *kind;
    const char *question[WORDINGS], *answer[WORDINGS];
} problems[] = {
    {"add",
     {"{0} has {a} {1} and buys {b} more. How many {1} are there now?", "{0} finds {a} {1} in the morning and {b} in the evening. How many is that?",
      "There are {a} {1} on the table. {0} puts {b} more beside them. How many {1} are there?"},
     {"There are <<{a}+{b}={c}>>{c} {1}.", "Together that is <<{a}+{b}={c}>>{c} {1}.", "{a} and {b} make <<{a}+{b}={c}>>{c}."}},
    {"subtract",
     {"{0} has {a} {1} and sells {b} of them. How many {1} are left?", "Of {a} {1}, {b} are broken. How many can {0} still use?",
      "{0} had {a} {1} and gave {b} away. How many {1} remain?"},
     {"There are <<{a}-{b}={c}>>{c} {1} left.", "What remains is <<{a}-{b}={c}>>{c} {1}.", "{a} less {b} is <<{a}-{b}={c}>>{c}."}},
    {"multiply",
     {"{0} fills {a} {2} with {b} {1} each. How many {1} is that?", "There are {a} {2} and {b} {1} in each. How many {1} does {0} have?",
      "{0} needs {b} {1} for each of {a} {2}. How many {1} are needed?"},
     {"That is <<{a}*{b}={c}>>{c} {1}.", "{a} times {b} is <<{a}*{b}={c}>>{c}.", "The {a} {2} hold <<{a}*{b}={c}>>{c} {1}."}},
    {"multiply-subtract",
     {"{0} fills {a} {2} with {b} {1} each and sells {c} of them. How many {1} are left?",
      "There are {a} {2} with {b} {1} each. {0} takes {c} {1} away. How many remain?",
      "{0} buys {a} {2} of {b} {1}. {c} {1} are bad. How many are good?"},
     {"First there are <<{a}*{b}={d}>>{d} {1}. Then <<{d}-{c}={e}>>{e} are left.", "{a} {2} hold <<{a}*{b}={d}>>{d} {1}. Without {c} that is <<{d}-{c}={e}>>{e}.",
      "All together it is <<{a}*{b}={d}>>{d}. After that <<{d}-{c}={e}>>{e} remain."}},
    {"add-multiply",
     {"{0} packs {a} {1} and {b} more into each of {c} {2}. How many {1} are packed?", "In each of {c} {2} lie {a} {1}, and {0} adds {b} to each. How many {1} is that?",
      "{0} gives {a} {1} and then {b} {1} to each of {c} {2}. How many are given?"},
     {"Each has <<{a}+{b}={d}>>{d} {1}. In all that is <<{d}*{c}={e}>>{e}.", "For one it is <<{a}+{b}={d}>>{d}. For {c} it is <<{d}*{c}={e}>>{e}.",
      "{a} and {b} make <<{a}+{b}={d}>>{d}. Times {c} that is <<{d}*{c}={e}>>{e}."}},
};

void corpus_arithmetic(corpus_doc *d)
{
    uint64_t kind = corpus_draw(d, sizeof problems / sizeof *problems);
    const struct problem *p = &problems[kind];
    int64_t a = 2 + (int64_t)corpus_draw(d, kind < 2 ? 90 : 11), b = 2 + (int64_t)corpus_draw(d, kind < 2 ? 60 : 11), c = 1 + (int64_t)corpus_draw(d, 9);

    if (kind == 1 && b > a) {
        int64_t larger = b;

        b = a;
        a = larger;
    }
    if (kind == 3 && c > a * b)
        c = a * b;
    d->kind = p->kind;
    corpus_entity(d, CORPUS_PICK(d, persons));
    corpus_entity(d, CORPUS_PICK(d, goods));
    corpus_entity(d, CORPUS_PICK(d, holders));
    corpus_value(d, a);
    corpus_value(d, b);
    if (kind < 3) {
        corpus_value(d, kind == 0 ? a + b : kind == 1 ? a - b : a * b);
    } else {
        corpus_value(d, c);
        corpus_value(d, kind == 3 ? a * b : a + b);
        corpus_value(d, kind == 3 ? a * b - c : (a + b) * c);
    }
    corpus_sentence(d, &d->question, p->question[corpus_draw(d, WORDINGS)]);
    corpus_sentence(d, &d->answer, p->answer[corpus_draw(d, WORDINGS)]);
    sd_str_add(&d->answer, "\n#### %lld", (long long)d->value[d->n_values - 1]);
}
