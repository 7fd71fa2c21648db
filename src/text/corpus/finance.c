/* Company news: the figures of a text are consistent. */
#include "corpus.h"

static const char *const stems[] = {"Nor", "Vel", "Ald", "Cor", "Bram", "Tess", "Hal", "Quin", "Mer", "Ost", "Lun", "Far", "Gran", "Pell"};
static const char *const ends[] = {"dale", "tech", "ex", "ium", "ford", "star", "wood", "line", "port", "gate", "mark"};
static const char *const forms[] = {"Corp", "Inc", "Group", "Bank", "Energy", "Foods", "Steel", "Air", "Motors", "Retail", "Chemicals"};
static const char *const quarters[] = {"first", "second", "third", "fourth"};
static const char *const units[] = {"revenue", "net profit", "operating income", "sales", "earnings"};
static const char *const good_causes[] = {"strong demand", "higher prices", "lower costs", "new orders from abroad", "falling interest rates",
                                    "a weaker dollar", "good weather"};
static const char *const bad_causes[] = {"weak exports", "rising fuel prices", "a strike at its plants", "currency losses", "high stocks", "a recall",
                                   "bad loans"};

enum { WORDINGS = 3 };

/* {0} company, {1} another, {2} quarter, {3} figure reported, {4} cause; {a} before, {b} percent, {c} after, {d} further. */
static const char *const rises[][WORDINGS] = {
    {"{0} said its {3} rose {b} percent to {c} million dollars in the {2} quarter.",
     "{0} reported {3} of {c} million dollars for the {2} quarter, up {b} percent.",
     "In the {2} quarter {3} at {0} climbed {b} percent to {c} million dollars."},
    {"A year earlier it was {a} million dollars.", "That compares with {a} million dollars a year ago.", "It had been {a} million dollars in the year before."},
    {"The company pointed to {4}.", "Analysts named {4} as the reason.", "Management said the rise came from {4}."},
    {"Shares of {0} gained {d} percent in early trading.", "The stock rose {d} percent.", "Investors pushed the shares up {d} percent."},
};
static const char *const falls[][WORDINGS] = {
    {"{0} said its {3} fell {b} percent to {c} million dollars in the {2} quarter.",
     "{0} reported {3} of {c} million dollars for the {2} quarter, down {b} percent.",
     "In the {2} quarter {3} at {0} dropped {b} percent to {c} million dollars."},
    {"A year earlier it was {a} million dollars.", "That compares with {a} million dollars a year ago.", "It had been {a} million dollars in the year before."},
    {"The company blamed {4}.", "Analysts named {4} as the reason.", "Management said the decline came from {4}."},
    {"Shares of {0} lost {d} percent in early trading.", "The stock fell {d} percent.", "Investors sold, and the shares ended {d} percent lower."},
};
static const char *const deals[][WORDINGS] = {
    {"{0} agreed to buy {1} for {a} million dollars in cash.", "{1} will be acquired by {0} for {a} million dollars.",
     "{0} offered {a} million dollars for all shares of {1}."},
    {"The price is {b} percent above the last close.", "Holders of {1} receive a premium of {b} percent.", "That is {b} percent more than the shares cost on Friday."},
    {"The deal is expected to close in the {2} quarter.", "Regulators must approve the merger.", "The boards of both companies have approved it."},
    {"Shares of {1} rose {b} percent.", "{0} will borrow {d} million dollars for it.", "The merged company will have {d} branches."},
};
static const char *const dividends[][WORDINGS] = {
    {"{0} declared a dividend of {a} cents a share for the {2} quarter.", "The board of {0} set the dividend at {a} cents a share.",
     "{0} will pay its shareholders {a} cents a share."},
    {"It was {d} cents in the quarter before.", "The last payment was {d} cents.", "That compares with {d} cents before."},
    {"The company pointed to {4}.", "The payout reflects {4}, it said.", "Analysts had expected it because of {4}."},
    {"The bonds of {0} now yield {b} percent.", "The stock yields {b} percent at its current price.", "About {b} percent of the profit goes to shareholders."},
};
static const char *const ratings[][WORDINGS] = {
    {"Analysts cut {0} to sell and lowered the price target to {c} dollars.", "A broker downgraded {0} and set a target of {c} dollars.",
     "The rating of {0} was lowered, with a new target of {c} dollars."},
    {"The old target was {a} dollars, {b} percent higher.", "Before, the target had been {a} dollars.", "That is {b} percent below the former {a} dollars."},
    {"They named {4}.", "The reason was {4}.", "The note spoke of {4}."},
    {"Rival {1} was kept at hold.", "Shares of {1} were little changed.", "They prefer {1}, which has less debt."},
};

static void company(corpus_doc *d)
{
    const char *stem = CORPUS_PICK(d, stems), *end = CORPUS_PICK(d, ends), *form = CORPUS_PICK(d, forms);
    sd_str name = {0};

    sd_str_add(&name, "%s%s %s", stem, end, form);
    corpus_entity(d, name.text != NULL ? name.text : "");
    sd_str_free(&name);
}

static void write_event(corpus_doc *d, const char *kind, const char *const (*sentences)[WORDINGS])
{
    d->kind = kind;
    for (int s = 0; s < 4; s++)
        corpus_sentence(d, &d->answer, sentences[s][corpus_draw(d, WORDINGS)]);
}

void corpus_finance(corpus_doc *d)
{
    uint64_t event = corpus_draw(d, 5);
    int64_t before = 100 * (1 + (int64_t)corpus_draw(d, 19)), percent = 2 + (int64_t)corpus_draw(d, 38);

    company(d);
    company(d);
    corpus_entity(d, CORPUS_PICK(d, quarters));
    corpus_entity(d, CORPUS_PICK(d, units));
    corpus_entity(d, event == 1 || event == 4 ? CORPUS_PICK(d, bad_causes) : CORPUS_PICK(d, good_causes));
    if (event == 3) {
        before = 10 + (int64_t)corpus_draw(d, 80);
        percent = 2 + (int64_t)corpus_draw(d, 7);
    }
    corpus_value(d, before);
    corpus_value(d, percent);
    corpus_value(d, event == 0 ? before + before / 100 * percent : before - before / 100 * percent);
    corpus_value(d, event == 3 ? before - (int64_t)corpus_draw(d, 6) : 1 + (int64_t)corpus_draw(d, 9));
    corpus_sentence(d, &d->question, event == 2 ? "What is the news about {1}?" : "What is the news about {0}?");
    if (event == 0)
        write_event(d, "rise", rises);
    else if (event == 1)
        write_event(d, "fall", falls);
    else if (event == 2)
        write_event(d, "deal", deals);
    else if (event == 3)
        write_event(d, "dividend", dividends);
    else
        write_event(d, "downgrade", ratings);
}
