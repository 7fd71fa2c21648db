#include <math.h>
#include <string.h>

#include "parts.h"

value chat_undefined(const char *name) { return (value){.kind = V_UNDEFINED, .as.name = name}; }
value chat_none(void) { return (value){.kind = V_NONE}; }
value chat_bool(bool truth) { return (value){.kind = V_BOOL, .as.truth = truth}; }
value chat_int(int64_t integer) { return (value){.kind = V_INT, .as.integer = integer}; }

bool chat_is(const value *v, const char *words)
{
    return v->kind == V_TEXT && v->as.text->length == strlen(words) && memcmp(v->as.text->bytes, words, v->as.text->length) == 0;
}

sd_status chat_list(machine *m, uint64_t count, value *out)
{
    list *l;
    sd_status st;

    SD_TRY(st, chat_spend(m, 1 + count));
    SD_TRY(st, CHAT_NEW(&m->memory, &l, 1));
    SD_TRY(st, CHAT_NEW(&m->memory, &l->item, count));
    l->count = count;
    *out = (value){.kind = V_LIST, .as.list = l};
out:
    return st;
}

sd_status chat_dict(machine *m, uint64_t capacity, value *out)
{
    dict *d;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &d, 1));
    SD_TRY(st, CHAT_NEW(&m->memory, &d->key, capacity));
    SD_TRY(st, CHAT_NEW(&m->memory, &d->item, capacity));
    d->capacity = capacity;
    *out = (value){.kind = V_DICT, .as.dict = d};
out:
    return st;
}

value *chat_dict_find(const dict *d, const value *key)
{
    for (uint64_t i = 0; i < d->count; i++)
        if (chat_equal(&d->key[i], key))
            return &d->item[i];
    return NULL;
}

value *chat_dict_get(const dict *d, const char *name)
{
    for (uint64_t i = 0; i < d->count; i++)
        if (chat_is(&d->key[i], name))
            return &d->item[i];
    return NULL;
}

sd_status chat_dict_set(machine *m, dict *d, value key, value item)
{
    value *there = chat_dict_find(d, &key), *keys, *items;
    uint64_t capacity = d->capacity < 4 ? 8 : 2 * d->capacity;
    sd_status st;

    SD_TRY(st, chat_spend(m, 1 + d->count));
    if (there != NULL) {
        *there = item;
        return SD_OK;
    }
    if (d->count == d->capacity) {
        SD_TRY(st, CHAT_NEW(&m->memory, &keys, capacity));
        SD_TRY(st, CHAT_NEW(&m->memory, &items, capacity));
        if (d->count > 0) {
            memcpy(keys, d->key, d->count * sizeof *keys);
            memcpy(items, d->item, d->count * sizeof *items);
        }
        d->key = keys;
        d->item = items;
        d->capacity = capacity;
    }
    d->key[d->count] = key;
    d->item[d->count++] = item;
out:
    return st;
}

const char *chat_kind(const value *v)
{
    switch (v->kind) {
    case V_UNDEFINED: return "Undefined";
    case V_NONE: return "NoneType";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_FLOAT: return "float";
    case V_TEXT: return "str";
    case V_LIST: return v->as.list->tuple ? "tuple" : "list";
    case V_DICT: return "dict";
    case V_NAMESPACE: return "Namespace";
    case V_LOOP: return "LoopContext";
    case V_MACRO: return "Macro";
    case V_FUNCTION: return "function";
    case V_METHOD: return "method";
    }
    return "object";
}

bool chat_integer(const value *v, int64_t *out)
{
    if (v->kind != V_INT && v->kind != V_BOOL)
        return false;
    *out = v->kind == V_INT ? v->as.integer : v->as.truth;
    return true;
}

bool chat_number(const value *v, double *out)
{
    int64_t whole;

    if (v->kind == V_FLOAT) {
        *out = v->as.real;
        return true;
    }
    if (!chat_integer(v, &whole))
        return false;
    *out = (double)whole;
    return true;
}

bool chat_truthy(const value *v)
{
    switch (v->kind) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v->as.truth;
    case V_INT: return v->as.integer != 0;
    case V_FLOAT: return v->as.real != 0;
    case V_TEXT: return v->as.text->length > 0;
    case V_LIST: return v->as.list->count > 0;
    case V_DICT: return v->as.dict->count > 0;
    case V_LOOP: return v->as.loop->over->count > 0;
    case V_NAMESPACE:
    case V_MACRO:
    case V_FUNCTION:
    case V_METHOD: return true;
    }
    return true;
}

static bool equal_at(const value *a, const value *b, unsigned depth)
{
    double x, y;
    int64_t i, j;

    if (depth == 0)
        return false;
    if (chat_integer(a, &i) && chat_integer(b, &j))
        return i == j;
    if (chat_number(a, &x) && chat_number(b, &y))
        return x == y;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case V_UNDEFINED:
    case V_NONE: return true;
    case V_TEXT:
        return a->as.text->length == b->as.text->length && memcmp(a->as.text->bytes, b->as.text->bytes, a->as.text->length) == 0;
    case V_LIST:
        if (a->as.list->count != b->as.list->count || a->as.list->tuple != b->as.list->tuple)
            return false;
        for (uint64_t n = 0; n < a->as.list->count; n++)
            if (!equal_at(&a->as.list->item[n], &b->as.list->item[n], depth - 1))
                return false;
        return true;
    case V_DICT:
        if (a->as.dict->count != b->as.dict->count)
            return false;
        for (uint64_t n = 0; n < a->as.dict->count; n++) {
            const value *other = chat_dict_find(b->as.dict, &a->as.dict->key[n]);

            if (other == NULL || !equal_at(&a->as.dict->item[n], other, depth - 1))
                return false;
        }
        return true;
    default: return a->as.dict == b->as.dict;
    }
}

bool chat_equal(const value *a, const value *b)
{
    return equal_at(a, b, CHAT_DEPTH);
}

sd_status chat_order(machine *m, const value *a, const value *b, int *order)
{
    double x, y;
    int64_t i, j;
    sd_status st = SD_OK;

    if (chat_integer(a, &i) && chat_integer(b, &j)) {
        *order = (i > j) - (i < j);
    } else if (chat_number(a, &x) && chat_number(b, &y)) {
        *order = (x > y) - (x < y);
    } else if (a->kind == V_TEXT && b->kind == V_TEXT) {
        uint64_t n = a->as.text->length, k = b->as.text->length;
        int d = n > 0 && k > 0 ? memcmp(a->as.text->bytes, b->as.text->bytes, n < k ? n : k) : 0;

        *order = d != 0 ? d : (n > k) - (n < k);
    } else if (a->kind == V_LIST && b->kind == V_LIST) {
        const list *p = a->as.list, *q = b->as.list;

        for (uint64_t n = 0; n < p->count && n < q->count; n++)
            if (!chat_equal(&p->item[n], &q->item[n])) {
                if (m->depth++ >= CHAT_DEPTH)
                    return CHAT_FAIL(m, "lists are nested too deeply to be compared");
                st = chat_order(m, &p->item[n], &q->item[n], order);
                m->depth--;
                return st;
            }
        *order = (p->count > q->count) - (p->count < q->count);
    } else {
        return CHAT_FAIL(m, "a %s and a %s cannot be ordered", chat_kind(a), chat_kind(b));
    }
    return st;
}

uint32_t chat_code_point(const char *bytes, uint64_t *length)
{
    const unsigned char *b = (const unsigned char *)bytes;

    if (b[0] < 0x80) {
        *length = 1;
        return b[0];
    }
    if (b[0] < 0xE0) {
        *length = 2;
        return (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    }
    if (b[0] < 0xF0) {
        *length = 3;
        return (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    }
    *length = 4;
    return (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3F) << 12 | (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}

bool chat_space(uint32_t p)
{
    return (p >= 0x09 && p <= 0x0D) || (p >= 0x1C && p <= 0x20) || p == 0x85 || p == 0xA0 || p == 0x1680 ||
           (p >= 0x2000 && p <= 0x200A) || p == 0x2028 || p == 0x2029 || p == 0x202F || p == 0x205F || p == 0x3000;
}

uint64_t chat_characters(const str *t)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < t->length; i++)
        n += ((unsigned char)t->bytes[i] & 0xC0) != 0x80;
    return n;
}

uint64_t chat_offset(const str *t, uint64_t at)
{
    uint64_t i = 0, length;

    for (; at > 0 && i < t->length; at--, i += length)
        (void)chat_code_point(t->bytes + i, &length);
    return i;
}

static bool dropped(const str *drop, const char *bytes, uint64_t length)
{
    uint64_t one;

    if (drop == NULL)
        return chat_space(chat_code_point(bytes, &one));
    for (uint64_t i = 0; i < drop->length; i += one) {
        (void)chat_code_point(drop->bytes + i, &one);
        if (one == length && memcmp(drop->bytes + i, bytes, one) == 0)
            return true;
    }
    return false;
}

void chat_strip(const str *t, const str *drop, bool left, bool right, uint64_t *first, uint64_t *end)
{
    uint64_t length, start;

    *first = 0;
    *end = t->length;
    while (left && *first < *end) {
        (void)chat_code_point(t->bytes + *first, &length);
        if (!dropped(drop, t->bytes + *first, length))
            break;
        *first += length;
    }
    while (right && *end > *first) {
        for (start = *end - 1; start > *first && ((unsigned char)t->bytes[start] & 0xC0) == 0x80; start--)
            ;
        if (!dropped(drop, t->bytes + start, *end - start))
            break;
        *end = start;
    }
}

sd_status chat_elements(machine *m, const value *v, list **out)
{
    value made;
    uint64_t n;
    sd_status st;

    switch (v->kind) {
    case V_LIST:
        SD_TRY(st, chat_spend(m, 1 + v->as.list->count));
        *out = v->as.list;
        return SD_OK;
    case V_UNDEFINED:
        SD_TRY(st, chat_list(m, 0, &made));
        break;
    case V_DICT:
        SD_TRY(st, chat_list(m, v->as.dict->count, &made));
        for (n = 0; n < v->as.dict->count; n++)
            made.as.list->item[n] = v->as.dict->key[n];
        break;
    case V_TEXT:
        n = chat_characters(v->as.text);
        SD_TRY(st, chat_list(m, n, &made));
        for (uint64_t i = 0, at = 0, length; i < n; i++, at += length) {
            (void)chat_code_point(v->as.text->bytes + at, &length);
            SD_TRY(st, chat_part(m, v->as.text, at, at + length, &made.as.list->item[i]));
        }
        break;
    default:
        return CHAT_FAIL(m, "a %s is not iterable", chat_kind(v));
    }
    *out = made.as.list;
out:
    return st;
}

sd_status chat_length(machine *m, const value *v, uint64_t *out)
{
    switch (v->kind) {
    case V_UNDEFINED: *out = 0; return SD_OK;
    case V_TEXT: *out = chat_characters(v->as.text); return chat_spend(m, 1 + v->as.text->length / 64);
    case V_LIST: *out = v->as.list->count; return SD_OK;
    case V_DICT: *out = v->as.dict->count; return SD_OK;
    case V_LOOP: *out = v->as.loop->over->count; return SD_OK;
    default: return CHAT_FAIL(m, "a %s has no length", chat_kind(v));
    }
}

static const char *find_bytes(const str *in, const str *what)
{
    for (uint64_t i = 0; what->length <= in->length && i <= in->length - what->length; i++)
        if (memcmp(in->bytes + i, what->bytes, what->length) == 0)
            return in->bytes + i;
    return NULL;
}

sd_status chat_contains(machine *m, const value *in, const value *what, bool *out)
{
    list *l;
    sd_status st = SD_OK;

    if (in->kind == V_TEXT) {
        if (what->kind != V_TEXT)
            return CHAT_FAIL(m, "'in <str>' needs a str on its left, not a %s", chat_kind(what));
        SD_TRY(st, chat_spend(m, 1 + in->as.text->length / 16));
        *out = find_bytes(in->as.text, what->as.text) != NULL;
        return SD_OK;
    }
    if (in->kind == V_DICT) {
        *out = chat_dict_find(in->as.dict, what) != NULL;
        return chat_spend(m, 1 + in->as.dict->count);
    }
    SD_TRY(st, chat_elements(m, in, &l));
    *out = false;
    for (uint64_t i = 0; i < l->count && !*out; i++)
        *out = chat_equal(&l->item[i], what);
out:
    return st;
}
