#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "parts.h"

/* Python's repr(float): the fewest digits that read back as the same number. */
static void print_real(double x, char out[48])
{
    char digits[40], *e;
    int exponent, precision;

    if (isnan(x) || isinf(x)) {
        strcpy(out, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    for (precision = 0; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, x);
        if (strtod(digits, NULL) == x)
            break;
    }
    e = strchr(digits, 'e');
    exponent = e != NULL ? atoi(e + 1) : 0;
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, 48, "%.*se%c%02d", e != NULL ? (int)(e - digits) : 0, digits, exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int after = precision - exponent;

        snprintf(out, 48, "%.*f", after > 0 ? after : 1, x);
    }
}

static sd_status print_escaped(machine *m, buffer *b, const str *t)
{
    char quote = memchr(t->bytes, '\'', t->length) != NULL && memchr(t->bytes, '"', t->length) == NULL ? '"' : '\'';
    sd_status st;

    SD_TRY(st, chat_add(m, b, &quote, NULL, 1));
    for (uint64_t i = 0, length; i < t->length; i += length) {
        uint32_t p = chat_code_point(t->bytes + i, &length);
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)p);
        char words[16] = "";

        if (p == '\\' || p == (uint32_t)(unsigned char)quote)
            snprintf(words, sizeof words, "\\%c", (int)p);
        else if (p == '\n' || p == '\r' || p == '\t')
            strcpy(words, p == '\n' ? "\\n" : p == '\r' ? "\\r" : "\\t");
        else if (p != ' ' && (c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CN ||
                              c == UTF8PROC_CATEGORY_CO || c == UTF8PROC_CATEGORY_CS || c == UTF8PROC_CATEGORY_ZL ||
                              c == UTF8PROC_CATEGORY_ZP || c == UTF8PROC_CATEGORY_ZS))
            snprintf(words, sizeof words, p < 0x100 ? "\\x%02x" : p < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)p);
        SD_TRY(st, words[0] != '\0' ? chat_add_words(m, b, words) : chat_add_part(m, b, t, i, i + length));
    }
    st = chat_add(m, b, &quote, NULL, 1);
out:
    return st;
}

static sd_status print_repr(machine *m, buffer *b, const value *v);

static sd_status print_list(machine *m, buffer *b, const list *l)
{
    sd_status st;

    SD_TRY(st, chat_add_words(m, b, l->tuple ? "(" : "["));
    for (uint64_t i = 0; i < l->count; i++) {
        if (i > 0)
            SD_TRY(st, chat_add_words(m, b, ", "));
        SD_TRY(st, print_repr(m, b, &l->item[i]));
    }
    st = chat_add_words(m, b, l->tuple ? l->count == 1 ? ",)" : ")" : "]");
out:
    return st;
}

static sd_status print_dict(machine *m, buffer *b, const dict *d)
{
    sd_status st;

    SD_TRY(st, chat_add_words(m, b, "{"));
    for (uint64_t i = 0; i < d->count; i++) {
        if (i > 0)
            SD_TRY(st, chat_add_words(m, b, ", "));
        SD_TRY(st, print_repr(m, b, &d->key[i]));
        SD_TRY(st, chat_add_words(m, b, ": "));
        SD_TRY(st, print_repr(m, b, &d->item[i]));
    }
    st = chat_add_words(m, b, "}");
out:
    return st;
}

static sd_status print_repr(machine *m, buffer *b, const value *v)
{
    sd_status st;

    if (m->depth++ >= CHAT_DEPTH)
        return CHAT_FAIL(m, "lists are nested too deeply to be printed");
    switch (v->kind) {
    case V_TEXT: st = print_escaped(m, b, v->as.text); break;
    case V_LIST: st = print_list(m, b, v->as.list); break;
    case V_DICT: st = print_dict(m, b, v->as.dict); break;
    case V_UNDEFINED: st = chat_add_words(m, b, "Undefined"); break;
    default: st = chat_print(m, b, v); break;
    }
    m->depth--;
    return st;
}

sd_status chat_print(machine *m, buffer *b, const value *v)
{
    char words[48] = "";

    switch (v->kind) {
    case V_UNDEFINED: return SD_OK;
    case V_NONE: return chat_add_words(m, b, "None");
    case V_BOOL: return chat_add_words(m, b, v->as.truth ? "True" : "False");
    case V_INT:
        snprintf(words, sizeof words, "%" PRId64, v->as.integer);
        return chat_add_words(m, b, words);
    case V_FLOAT:
        print_real(v->as.real, words);
        return chat_add_words(m, b, words);
    case V_TEXT: return chat_add_part(m, b, v->as.text, 0, v->as.text->length);
    case V_LIST:
    case V_DICT: return print_repr(m, b, v);
    default: return CHAT_FAIL(m, "a %s cannot be printed", chat_kind(v));
    }
}

sd_status chat_to_text(machine *m, const value *v, value *out)
{
    buffer b = {0};
    sd_status st;

    if (v->kind == V_TEXT) {
        *out = *v;
        return SD_OK;
    }
    SD_TRY(st, chat_print(m, &b, v));
    st = chat_take(m, &b, out);
out:
    return st;
}

/* ---- JSON */

static sd_status json_text(machine *m, buffer *b, const str *t)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    uint64_t plain = 0;
    sd_status st;

    SD_TRY(st, chat_add_words(m, b, "\""));
    for (uint64_t i = 0; i < t->length; i++) {
        unsigned char c = (unsigned char)t->bytes[i];
        const char *special = c != '\0' ? strchr(from, c) : NULL;
        char words[8];

        if (special == NULL && c >= 0x20)
            continue;
        SD_TRY(st, chat_add_part(m, b, t, plain, i));
        if (special != NULL)
            snprintf(words, sizeof words, "\\%c", to[special - from]);
        else
            snprintf(words, sizeof words, "\\u%04x", c);
        SD_TRY(st, chat_add(m, b, words, NULL, strlen(words)));
        plain = i + 1;
    }
    SD_TRY(st, chat_add_part(m, b, t, plain, t->length));
    st = chat_add_words(m, b, "\"");
out:
    return st;
}

static sd_status new_line(machine *m, buffer *b, int64_t indent, unsigned level)
{
    sd_status st;

    if (indent < 0)
        return SD_OK;
    SD_TRY(st, chat_add_words(m, b, "\n"));
    for (uint64_t i = 0; i < (uint64_t)indent * level; i++)
        SD_TRY(st, chat_add(m, b, " ", NULL, 1));
out:
    return st;
}

static sd_status json_at(machine *m, buffer *b, const value *v, int64_t indent, bool sorted, unsigned level);

static sd_status json_list(machine *m, buffer *b, const list *l, int64_t indent, bool sorted, unsigned level)
{
    sd_status st;

    if (l->count == 0)
        return chat_add_words(m, b, "[]");
    SD_TRY(st, chat_add_words(m, b, "["));
    for (uint64_t i = 0; i < l->count; i++) {
        if (i > 0)
            SD_TRY(st, chat_add_words(m, b, indent < 0 ? ", " : ","));
        SD_TRY(st, new_line(m, b, indent, level + 1));
        SD_TRY(st, json_at(m, b, &l->item[i], indent, sorted, level + 1));
    }
    SD_TRY(st, new_line(m, b, indent, level));
    st = chat_add_words(m, b, "]");
out:
    return st;
}

/* Sorts the indices of the members by key (insertion sort). */
static sd_status sort_keys(machine *m, const dict *d, uint64_t *index)
{
    sd_status st = SD_OK;

    SD_TRY(st, chat_spend(m, d->count * d->count));
    for (uint64_t i = 0; i < d->count; i++) {
        uint64_t at = i;
        int order = 1;

        for (; at > 0; at--) {
            SD_TRY(st, chat_order(m, &d->key[index[at - 1]], &d->key[i], &order));
            if (order <= 0)
                break;
            index[at] = index[at - 1];
        }
        index[at] = i;
    }
out:
    return st;
}

static sd_status json_dict(machine *m, buffer *b, const dict *d, int64_t indent, bool sorted, unsigned level)
{
    uint64_t *index;
    sd_status st;

    if (d->count == 0)
        return chat_add_words(m, b, "{}");
    SD_TRY(st, CHAT_NEW(&m->memory, &index, d->count));
    for (uint64_t i = 0; i < d->count; i++)
        index[i] = i;
    if (sorted)
        SD_TRY(st, sort_keys(m, d, index));
    SD_TRY(st, chat_add_words(m, b, "{"));
    for (uint64_t i = 0; i < d->count; i++) {
        const value *key = &d->key[index[i]];

        if (i > 0)
            SD_TRY(st, chat_add_words(m, b, indent < 0 ? ", " : ","));
        SD_TRY(st, new_line(m, b, indent, level + 1));
        if (key->kind == V_TEXT) {
            SD_TRY(st, json_text(m, b, key->as.text));
        } else {
            SD_TRY(st, chat_add_words(m, b, "\""));
            SD_TRY(st, json_at(m, b, key, -1, false, level + 1));
            SD_TRY(st, chat_add_words(m, b, "\""));
        }
        SD_TRY(st, chat_add_words(m, b, ": "));
        SD_TRY(st, json_at(m, b, &d->item[index[i]], indent, sorted, level + 1));
    }
    SD_TRY(st, new_line(m, b, indent, level));
    st = chat_add_words(m, b, "}");
out:
    return st;
}

static sd_status json_at(machine *m, buffer *b, const value *v, int64_t indent, bool sorted, unsigned level)
{
    sd_status st;

    if (m->depth++ >= CHAT_DEPTH)
        return CHAT_FAIL(m, "lists are nested too deeply to be written as JSON");
    switch (v->kind) {
    case V_NONE: st = chat_add_words(m, b, "null"); break;
    case V_BOOL: st = chat_add_words(m, b, v->as.truth ? "true" : "false"); break;
    case V_INT: st = chat_print(m, b, v); break;
    case V_FLOAT:
        st = isnan(v->as.real)   ? chat_add_words(m, b, "NaN")
             : isinf(v->as.real) ? chat_add_words(m, b, v->as.real < 0 ? "-Infinity" : "Infinity")
                                 : chat_print(m, b, v);
        break;
    case V_TEXT: st = json_text(m, b, v->as.text); break;
    case V_LIST: st = json_list(m, b, v->as.list, indent, sorted, level); break;
    case V_DICT: st = json_dict(m, b, v->as.dict, indent, sorted, level); break;
    default: st = CHAT_FAIL(m, "a %s cannot be written as JSON", chat_kind(v)); break;
    }
    m->depth--;
    return st;
}

sd_status chat_json(machine *m, buffer *b, const value *v, int64_t indent, bool sorted)
{
    return json_at(m, b, v, indent, sorted, 0);
}
