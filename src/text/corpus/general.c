/* Stories: a plot is a sequence of sentences, each with a few variants. */
#include "corpus.h"

static const char *const heroes[] = {"the baker", "the gardener", "a young fox", "the old sailor", "the teacher", "a small dog", "the shepherd",
                                     "the painter", "a grey cat", "the miller", "the clockmaker", "the librarian", "a tired horse",
                                     "the beekeeper", "the potter", "the fisher", "a clever crow", "the tailor", "the drummer", "a brown bear"};
static const char *const friends[] = {"her sister", "his brother", "a kind neighbour", "the village doctor", "an old friend", "the ferryman",
                                      "a quiet child", "the innkeeper", "a travelling singer", "the woodcutter", "a white goose", "the postman"};
static const char *const places[] = {"the river", "the old mill", "a green valley", "the market square", "the dark forest", "the lighthouse",
                                     "a ruined tower", "the harbour", "the orchard", "a snowy hill", "the stone bridge", "the meadow",
                                     "a hidden garden", "the village well", "the windy cliff"};
static const char *const things[] = {"a silver key", "a red ball", "a wooden boat", "a warm blanket", "a blue kite", "an old map", "a brass bell",
                                     "a jar of honey", "a glass lamp", "a bag of seeds", "a paper crown", "a small drum", "a loaf of bread",
                                     "a pair of boots", "a music box"};
static const char *const times[] = {"one morning", "in the evening", "on a rainy day", "at the end of summer", "before sunrise", "late at night",
                                    "in the first snow", "on market day", "in early spring"};

enum { WORDINGS = 3, SENTENCES = 6 };

/* {0} hero, {1} friend, {2} place, {3} thing, {4} time. */
static const struct plot {
    const char *kind;
    const char *sentence[SENTENCES][WORDINGS];
} plots[] = {
    {"lost",
     {{"{4} {0} went to {2} and lost {3}.", "{4} {0} could not find {3} near {2}.", "{0} came back from {2} {4} without {3}."},
      {"The grass was high and the path was long.", "It had been there a moment ago.", "Nobody had seen it fall."},
      {"{1} came to help.", "Then {1} heard the crying and came.", "So {1} was asked for help."},
      {"They looked under every stone and behind every tree.", "They walked slowly and looked at the ground.", "Together they searched until it was dark."},
      {"At last it was found beside {2}.", "There it was, half hidden under the leaves.", "A bird had carried it to {2}."},
      {"{0} was very happy and said thank you.", "They went home and laughed.", "From that day it was kept in a safe place."}}},
    {"gift",
     {{"{0} wanted to give {3} to {1}.", "It was a birthday, and {0} had {3} for {1}.", "{4} {0} made {3} as a gift for {1}."},
      {"The way led past {2}.", "It was a long walk to {2}.", "{2} was where they would meet."},
      {"On the way it began to rain.", "The wind blew hard that day.", "The sun was warm and the birds sang."},
      {"{0} held it close and went on.", "{0} did not stop to rest.", "{0} sang a little song on the way."},
      {"{1} opened the door and smiled.", "{1} could not believe it.", "{1} had waited the whole day."},
      {"It was the best gift of the year.", "They ate cake and were glad.", "They have been friends ever since."}}},
    {"storm",
     {{"{4} a great storm came over {2}.", "The sky above {2} turned black {4}.", "Thunder woke {0} {4}."},
      {"{0} was afraid of the noise.", "{0} closed the windows.", "{0} hid under the table."},
      {"Water ran through the streets.", "The trees bent low in the wind.", "The light went out."},
      {"{1} was still outside at {2}.", "Where was {1}?", "{1} called from far away."},
      {"{0} took {3} and ran into the rain.", "With {3} in hand {0} went out to look.", "{0} lifted {3} high so that it could be seen."},
      {"Soon both were safe and dry.", "In the morning the sky was clear.", "When it was over they drank hot tea."}}},
    {"work",
     {{"{0} worked at {2} every day.", "There was much to do for {0} at {2}.", "{4} {0} began to work at {2}."},
      {"The work was hard but good.", "Nobody else knew how to do it.", "It took a week to learn."},
      {"Then {3} broke in two.", "But {3} was missing.", "All that was needed was {3}."},
      {"{1} knew how to mend it.", "{1} had another one at home.", "{1} showed how it could be done."},
      {"They worked side by side until evening.", "It was done before noon.", "They did it twice, and the second time it was right."},
      {"The people of the village were pleased.", "{0} slept well that night.", "Since then {1} comes to help each week."}}},
    {"journey",
     {{"{0} had never been beyond {2}.", "{4} {0} left home and walked past {2}.", "Far behind {2} there was a town, and {0} wanted to see it."},
      {"{3} was all that was packed.", "With {3} on the back the road seemed short.", "{0} carried {3} and nothing else."},
      {"On the second day {0} met {1}.", "At a crossing sat {1}.", "{1} was going the same way."},
      {"They shared their food and told stories.", "They walked together until the stars came out.", "Neither of them knew the road."},
      {"The town was bigger than anything they had seen.", "In the town there was music in every street.", "The gates of the town were closed."},
      {"They came home with many stories.", "Some day they will go again.", "{0} has told of it ever since."}}},
};

void corpus_general(corpus_doc *d)
{
    const struct plot *plot = &plots[corpus_draw(d, sizeof plots / sizeof *plots)];

    d->kind = plot->kind;
    corpus_entity(d, CORPUS_PICK(d, heroes));
    corpus_entity(d, CORPUS_PICK(d, friends));
    corpus_entity(d, CORPUS_PICK(d, places));
    corpus_entity(d, CORPUS_PICK(d, things));
    corpus_entity(d, CORPUS_PICK(d, times));
    corpus_sentence(d, &d->question, "Tell me a story about {0} and {3}.");
    for (int s = 0; s < SENTENCES; s++)
        corpus_sentence(d, &d->answer, plot->sentence[s][corpus_draw(d, WORDINGS)]);
}
