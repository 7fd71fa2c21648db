#include "keys_alias.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "saediff/core/log.h"

typedef struct alias {
    const char *key; /* NULL: old and now are keys or sections; else they are values of this key */
    const char *old, *now;
} alias;

static const alias aliases[] = {
    {NULL, "models.stages", "models.pipeline"},
    {NULL, "extract.slab_tokens", "extract.batch_tokens"},
    {NULL, "lessons", "finetune.data"},
    {NULL, "finetune.micro", "finetune.micro_batch"},
    {NULL, "finetune.data.learn", "finetune.data.supervise"},
    {NULL, "data.condition", "data.prompt_format"},
    {"data.prompt_format", "C0", "templated"},
    {"data.prompt_format", "C1", "substituted"},
    {"data.prompt_format", "C2", "plain"},
    {"data.prompt_format", "C3", "raw"},
    {"train.on", "residual", "error"},
};
enum { ALIASES = sizeof aliases / sizeof *aliases };

static const alias *find(const char *key, const char *old)
{
    for (size_t i = 0; i < ALIASES; i++)
        if ((key == NULL) == (aliases[i].key == NULL) && (key == NULL || strcmp(key, aliases[i].key) == 0) && strcmp(old, aliases[i].old) == 0)
            return &aliases[i];
    return NULL;
}

const char *key_alias(const char *name)
{
    const alias *found = find(NULL, name);

    return found != NULL ? found->now : NULL;
}

const char *key_value_alias(const char *name, const char *value)
{
    const alias *found = find(name, value);

    return found != NULL ? found->now : NULL;
}

void key_warn_alias(const char *old_name, const char *name)
{
    static bool warned[ALIASES];

    for (size_t i = 0; i < ALIASES; i++)
        if (strcmp(aliases[i].old, old_name) == 0 && strcmp(aliases[i].now, name) == 0 && !warned[i]) {
            warned[i] = true;
            sd_warn("the job's '%s' is now called '%s'; this version still accepts the old name, the next one will not", old_name, name);
        }
}
