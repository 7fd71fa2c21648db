#include "thrift.h"

#include <stddef.h>

enum { TRUE = 1, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, DEPTH = 32 };

static void fault(thrift *t, const char *what)
{
    if (t->wrong == NULL)
        t->wrong = what;
}

static uint8_t byte(thrift *t)
{
    if (t->wrong == NULL && t->at == t->end)
        fault(t, "it is truncated");
    return t->wrong == NULL ? *t->at++ : 0;
}

uint64_t thrift_varint(thrift *t)
{
    uint64_t value = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = byte(t);

        value |= (uint64_t)(b & 0x7F) << shift;
        if (b < 0x80)
            return value;
    }
    fault(t, "a number has more than 64 bits");
    return 0;
}

int64_t thrift_zigzag(thrift *t)
{
    uint64_t value = thrift_varint(t);

    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

bool thrift_next(thrift *t, thrift_field *f)
{
    uint8_t head = byte(t);
    int64_t id;

    f->type = head & 0x0F;
    if (t->wrong != NULL || f->type == 0)
        return false;
    id = head >> 4 ? f->id + (head >> 4) : thrift_zigzag(t);
    if (id < -32768 || id > 32767)
        fault(t, "a member's number is out of range");
    else
        f->id = (int)id;
    return t->wrong == NULL;
}

static void skip_bytes(thrift *t, uint64_t count)
{
    if (t->wrong != NULL)
        return;
    if (count > (uint64_t)(t->end - t->at))
        fault(t, "it is truncated");
    else
        t->at += count;
}

/* *type of the entries; a list of structs or numbers has at least one byte per entry. */
static uint64_t list_head(thrift *t, int *type)
{
    uint8_t head = byte(t);
    uint64_t count = head >> 4 == 15 ? thrift_varint(t) : head >> 4;

    *type = head & 0x0F;
    if (t->wrong == NULL && count > (uint64_t)(t->end - t->at))
        fault(t, "a list has more entries than bytes are left");
    return t->wrong == NULL ? count : 0;
}

static void skip_value(thrift *t, int type, bool in_list, int depth)
{
    uint64_t count;
    int entry;

    if (depth == DEPTH)
        fault(t, "it is nested too deeply");
    if (t->wrong != NULL)
        return;
    switch (type) {
    case TRUE:
    case FALSE:
        skip_bytes(t, in_list);
        break;
    case BYTE:
        skip_bytes(t, 1);
        break;
    case I16:
    case I32:
    case I64:
        thrift_varint(t);
        break;
    case DOUBLE:
        skip_bytes(t, 8);
        break;
    case BINARY:
        skip_bytes(t, thrift_varint(t));
        break;
    case LIST:
    case SET:
        count = list_head(t, &entry);
        for (uint64_t i = 0; i < count && t->wrong == NULL; i++)
            skip_value(t, entry, true, depth + 1);
        break;
    case MAP:
        count = thrift_varint(t);
        entry = count > 0 ? byte(t) : 0;
        if (count > (uint64_t)(t->end - t->at))
            fault(t, "a map has more entries than bytes are left");
        for (uint64_t i = 0; i < count && t->wrong == NULL; i++) {
            skip_value(t, entry >> 4, true, depth + 1);
            skip_value(t, entry & 0x0F, true, depth + 1);
        }
        break;
    case STRUCT:
        for (thrift_field f = {0}; thrift_next(t, &f);)
            skip_value(t, f.type, false, depth + 1);
        break;
    default:
        fault(t, "a member has an unknown type");
    }
}

void thrift_skip(thrift *t, const thrift_field *f)
{
    skip_value(t, f->type, false, 0);
}

static const char other_type[] = "a member has the wrong type";

int64_t thrift_int(thrift *t, const thrift_field *f)
{
    if (f->type == BYTE)
        return (int8_t)byte(t);
    if (f->type == I16 || f->type == I32 || f->type == I64)
        return thrift_zigzag(t);
    fault(t, other_type);
    return 0;
}

bool thrift_bool(thrift *t, const thrift_field *f)
{
    if (f->type != TRUE && f->type != FALSE)
        fault(t, other_type);
    return f->type == TRUE;
}

const char *thrift_text(thrift *t, const thrift_field *f, uint64_t *length)
{
    const uint8_t *text;

    *length = 0;
    if (f->type != BINARY) {
        fault(t, other_type);
        return "";
    }
    *length = thrift_varint(t);
    text = t->at;
    skip_bytes(t, *length);
    if (t->wrong != NULL)
        *length = 0;
    return (const char *)text;
}

bool thrift_struct(thrift *t, const thrift_field *f)
{
    if (f->type != STRUCT)
        fault(t, other_type);
    return t->wrong == NULL;
}

uint64_t thrift_structs(thrift *t, const thrift_field *f)
{
    uint64_t count;
    int type;

    if (f->type != LIST) {
        fault(t, other_type);
        return 0;
    }
    count = list_head(t, &type);
    if (count > 0 && type != STRUCT)
        fault(t, other_type);
    return t->wrong == NULL ? count : 0;
}
