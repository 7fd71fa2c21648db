/* Methods of texts, lists and dicts; none modifies its object. */
#include <string.h>
#include <utf8proc.h>

#include "parts.h"

static sd_status fail_arguments(machine *m, const bound_method *f, const char *what)
{
    return CHAT_FAIL(m, "the method '%s' of a %s needs %s", f->name, chat_kind(&f->self), what);
}

static sd_status add_piece(machine *m, list *l, const str *t, uint64_t first, uint64_t end)
{
    return chat_part(m, t, first, end, &l->item[l->count++]);
}

static bool matches(const str *t, uint64_t at, const str *what)
{
    return what->length <= t->length - at && memcmp(t->bytes + at, what->bytes, what->length) == 0;
}

static sd_status split_space(machine *m, const str *t, int64_t limit, list *l)
{
    uint64_t at = 0, first, end, length;
    sd_status st = SD_OK;

    for (;;) {
        str rest = {t->bytes + at, NULL, t->length - at};

        chat_strip(&rest, NULL, true, true, &first, &end);
        if (first == end)
            break;
        at += first;
        if (limit >= 0 && (int64_t)l->count >= limit) {
            chat_strip(&rest, NULL, true, false, &first, &end);
            st = add_piece(m, l, t, at, t->length);
            break;
        }
        for (first = at; at < t->length && !chat_space(chat_code_point(t->bytes + at, &length)); at += length)
            ;
        SD_TRY(st, add_piece(m, l, t, first, at));
    }
out:
    return st;
}

static sd_status split_right(machine *m, const str *t, const str *by, int64_t limit, list *l)
{
    uint64_t end = t->length;
    sd_status st = SD_OK;

    for (uint64_t at = t->length + 1; at-- > 0;) {
        if (limit >= 0 && (int64_t)l->count >= limit)
            break;
        if (at + by->length <= end && matches(t, at, by)) {
            SD_TRY(st, add_piece(m, l, t, at + by->length, end));
            end = at;
        }
    }
    SD_TRY(st, add_piece(m, l, t, 0, end));
    for (uint64_t i = 0; i < l->count / 2; i++) {
        value v = l->item[i];

        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = v;
    }
out:
    return st;
}

static sd_status call_split(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text;
    value by = chat_none(), limit = chat_int(-1), made;
    uint64_t first = 0;
    sd_status st;

    (void)chat_argument(args, 0, "sep", &by);
    (void)chat_argument(args, 1, "maxsplit", &limit);
    if ((by.kind != V_TEXT && by.kind != V_NONE) || limit.kind != V_INT || (by.kind == V_TEXT && by.as.text->length == 0))
        return fail_arguments(m, f, "a non-empty text and a number");
    SD_TRY(st, chat_list(m, t->length + 1, &made));
    made.as.list->count = 0;
    *out = made;
    if (f->name[0] == 'r')
        return by.kind == V_NONE ? CHAT_FAIL(m, "'rsplit' without a separator is not supported")
                                 : split_right(m, t, by.as.text, limit.as.integer, made.as.list);
    if (by.kind == V_NONE)
        return split_space(m, t, limit.as.integer, made.as.list);
    for (uint64_t at = 0; at + by.as.text->length <= t->length;) {
        if (limit.as.integer >= 0 && (int64_t)made.as.list->count >= limit.as.integer)
            break;
        if (!matches(t, at, by.as.text)) {
            at++;
            continue;
        }
        SD_TRY(st, add_piece(m, made.as.list, t, first, at));
        first = at += by.as.text->length;
    }
    st = add_piece(m, made.as.list, t, first, t->length);
out:
    return st;
}

static sd_status call_lines(machine *m, const bound_method *f, value *out)
{
    const str *t = f->self.as.text;
    uint64_t first = 0, length;
    value made;
    sd_status st;

    SD_TRY(st, chat_list(m, t->length + 1, &made));
    made.as.list->count = 0;
    for (uint64_t at = 0; at < t->length; at += length) {
        uint32_t p = chat_code_point(t->bytes + at, &length);

        if (!((p >= 0x0A && p <= 0x0D) || (p >= 0x1C && p <= 0x1E) || p == 0x85 || p == 0x2028 || p == 0x2029))
            continue;
        SD_TRY(st, add_piece(m, made.as.list, t, first, at));
        if (p == '\r' && at + 1 < t->length && t->bytes[at + 1] == '\n')
            length = 2;
        first = at + length;
    }
    if (first < t->length)
        SD_TRY(st, add_piece(m, made.as.list, t, first, t->length));
    *out = made;
out:
    return st;
}

static sd_status call_ends(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text;
    bool front = f->name[0] == 's', found = false;
    list one = {args->at, 1, true}, *of = &one;

    if (args->count != 1 || args->name[0] != NULL)
        return fail_arguments(m, f, "one text");
    if (args->at[0].kind == V_LIST && args->at[0].as.list->tuple)
        of = args->at[0].as.list;
    for (uint64_t i = 0; i < of->count; i++) {
        const str *what = of->item[i].as.text;

        if (of->item[i].kind != V_TEXT)
            return fail_arguments(m, f, "one text");
        found |= what->length <= t->length && matches(t, front ? 0 : t->length - what->length, what);
    }
    *out = chat_bool(found);
    return SD_OK;
}

static sd_status call_remove(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text, *what;
    bool front = strcmp(f->name, "removeprefix") == 0;

    if (args->count != 1 || args->at[0].kind != V_TEXT)
        return fail_arguments(m, f, "one text");
    what = args->at[0].as.text;
    if (what->length > t->length || !matches(t, front ? 0 : t->length - what->length, what)) {
        *out = f->self;
        return SD_OK;
    }
    return chat_part(m, t, front ? what->length : 0, front ? t->length : t->length - what->length, out);
}

static sd_status call_find(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text, *what;
    int64_t n = 0;
    sd_status st;

    if (args->count != 1 || args->at[0].kind != V_TEXT)
        return fail_arguments(m, f, "one text");
    what = args->at[0].as.text;
    SD_TRY(st, chat_spend(m, 1 + t->length / 16));
    if (f->name[0] == 'c' && what->length == 0) {
        *out = chat_int((int64_t)chat_characters(t) + 1);
        return SD_OK;
    }
    for (uint64_t at = 0; at + what->length <= t->length;) {
        if (!matches(t, at, what)) {
            at++;
            continue;
        }
        if (f->name[0] == 'f') {
            str before = {t->bytes, NULL, at};

            *out = chat_int((int64_t)chat_characters(&before));
            return SD_OK;
        }
        n++;
        at += what->length;
    }
    *out = chat_int(f->name[0] == 'f' ? -1 : n);
out:
    return st;
}

static sd_status call_is(const bound_method *f, value *out)
{
    const str *t = f->self.as.text;
    bool all = t->length > 0;

    for (uint64_t at = 0, length; at < t->length && all; at += length) {
        uint32_t p = chat_code_point(t->bytes + at, &length);

        all = f->name[2] == 's' ? chat_space(p) : utf8proc_category((utf8proc_int32_t)p) == UTF8PROC_CATEGORY_ND;
    }
    *out = chat_bool(all);
    return SD_OK;
}

static sd_status call_text(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const char *name = f->name;
    const str *t = f->self.as.text;
    value a = chat_none(), b = chat_none(), c = chat_int(-1);
    uint64_t first, end;

    (void)chat_argument(args, 0, NULL, &a);
    (void)chat_argument(args, 1, NULL, &b);
    (void)chat_argument(args, 2, "count", &c);
    if (strcmp(name, "split") == 0 || strcmp(name, "rsplit") == 0)
        return call_split(m, f, args, out);
    if (strcmp(name, "splitlines") == 0)
        return call_lines(m, f, out);
    if (strcmp(name, "startswith") == 0 || strcmp(name, "endswith") == 0)
        return call_ends(m, f, args, out);
    if (strncmp(name, "remove", 6) == 0)
        return call_remove(m, f, args, out);
    if (strcmp(name, "find") == 0 || strcmp(name, "count") == 0)
        return call_find(m, f, args, out);
    if (strncmp(name, "is", 2) == 0)
        return call_is(f, out);
    if (strcmp(name, "replace") == 0) {
        if (a.kind != V_TEXT || b.kind != V_TEXT || c.kind != V_INT)
            return fail_arguments(m, f, "two texts and optionally a number");
        return chat_replace(m, t, a.as.text, b.as.text, c.as.integer, out);
    }
    if (strcmp(name, "join") == 0) {
        value by = f->self;
        arguments one = {&by, &(const char *){NULL}, 1};

        if (args->count != 1)
            return fail_arguments(m, f, "a list");
        return chat_filter(m, "join", &a, &one, out);
    }
    if (strstr(name, "strip") != NULL) {
        if (a.kind != V_TEXT && a.kind != V_NONE)
            return fail_arguments(m, f, "a text");
        chat_strip(t, a.kind == V_TEXT ? a.as.text : NULL, name[0] != 'r', name[0] != 'l', &first, &end);
        return chat_part(m, t, first, end, out);
    }
    return chat_filter(m, strcmp(name, "title") == 0 ? "str.title" : name, &f->self, &(arguments){0}, out);
}

static sd_status call_list(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const list *l = f->self.as.list;
    int64_t n = 0;

    if (args->count != 1)
        return fail_arguments(m, f, "one value");
    for (uint64_t i = 0; i < l->count; i++) {
        if (!chat_equal(&l->item[i], &args->at[0]))
            continue;
        if (f->name[0] == 'i') {
            *out = chat_int((int64_t)i);
            return SD_OK;
        }
        n++;
    }
    if (f->name[0] == 'i')
        return CHAT_FAIL(m, "the value is not in the list");
    *out = chat_int(n);
    return SD_OK;
}

static sd_status call_of_dict(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const dict *d = f->self.as.dict;
    value made;
    sd_status st = SD_OK;

    if (strcmp(f->name, "get") == 0) {
        const value *found;

        if (args->count < 1 || args->count > 2)
            return fail_arguments(m, f, "a key and optionally a default");
        found = chat_dict_find(d, &args->at[0]);
        *out = found != NULL ? *found : args->count == 2 ? args->at[1] : chat_none();
        return SD_OK;
    }
    if (args->count > 0)
        return fail_arguments(m, f, "no argument");
    if (strcmp(f->name, "copy") == 0) {
        *out = f->self;
        return SD_OK;
    }
    if (strcmp(f->name, "items") == 0)
        return chat_filter(m, "items", &f->self, args, out);
    SD_TRY(st, chat_list(m, d->count, &made));
    for (uint64_t i = 0; i < d->count; i++)
        made.as.list->item[i] = f->name[0] == 'k' ? d->key[i] : d->item[i];
    *out = made;
out:
    return st;
}

sd_status chat_call_method(machine *m, const bound_method *f, const arguments *args, value *out)
{
    switch (f->self.kind) {
    case V_TEXT: return call_text(m, f, args, out);
    case V_LIST: return call_list(m, f, args, out);
    case V_DICT: return call_of_dict(m, f, args, out);
    default:
        if (args->count == 0)
            return CHAT_FAIL(m, "loop.cycle needs values");
        *out = args->at[f->self.as.loop->at % args->count];
        return SD_OK;
    }
}
