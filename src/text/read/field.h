/* The part of a record that becomes the document: a path or a template of paths (syntax in dataset.h). Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_FIELD_H
#define SAEDIFF_TEXT_READ_FIELD_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "saediff/core/status.h"
#include "saediff/core/str.h"

typedef struct field field;

/* Unbalanced braces are SD_E_USAGE. */
/* json: values are added as JSON text, strings with quotes, and an object without one of the paths is an empty document. */
SD_MUST_CHECK sd_status field_create(field **f, const char *words, bool json);
void field_destroy(field **f);
/* Whether the member `column` of a record may be needed. */
bool field_needs(const field *f, const char *column);
/* Adds the document of `object` to `out`, nothing if all of its paths are empty; remembers which paths were found. */
SD_MUST_CHECK sd_status field_add(field *f, const cJSON *object, sd_str *out);
/* A path that no object had so far, or NULL. */
const char *field_missing(const field *f);

#endif
