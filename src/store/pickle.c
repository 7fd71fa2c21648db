/* A stack machine for the opcodes that torch.save writes (protocols 2 to 4).
 * https://docs.python.org/3/library/pickletools.html */
#include "pickle_machine.h"

#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"

sd_status sd_pickle_bad(const pickle_machine *m, const char *what)
{
    return SD_FAIL(SD_E_DATA, "%s: byte %llu of its pickle: %s; the file is damaged or no PyTorch checkpoint", m->name,
                   (unsigned long long)m->op, what);
}

sd_status sd_pickle_grow(const pickle_machine *m, void *array, size_t size, uint32_t count, uint32_t *capacity)
{
    void *grown;
    uint32_t wider = *capacity > 0 ? 2 * *capacity : 16;
    sd_status st = SD_OK;

    if (count < *capacity)
        goto out;
    if (count >= VALUES_MOST) {
        st = sd_pickle_bad(m, "more objects than any checkpoint has");
        goto out;
    }
    SD_TRY(st, sd_alloc_bytes(&grown, wider, size));
    if (count > 0)
        memcpy(grown, *(void **)array, count * size);
    sd_free(*(void **)array);
    *(void **)array = grown;
    *capacity = wider;
out:
    return st;
}

sd_status sd_pickle_push(pickle_machine *m, uint32_t index)
{
    sd_status st;

    SD_TRY(st, sd_pickle_grow(m, &m->stack, sizeof *m->stack, m->n_stack, &m->capacity_stack));
    m->stack[m->n_stack++] = index;
out:
    return st;
}

sd_status sd_pickle_push_new(pickle_machine *m, pickle_value v)
{
    sd_status st;

    SD_TRY(st, sd_pickle_grow(m, &m->values, sizeof *m->values, m->n_values, &m->capacity_values));
    m->values[m->n_values++] = v;
    return sd_pickle_push(m, m->n_values - 1);
out:
    sd_free(v.items);
    return st;
}

static sd_status pop(pickle_machine *m, uint32_t *index)
{
    if (m->n_stack == 0)
        return sd_pickle_bad(m, "the stack is empty");
    *index = m->stack[--m->n_stack];
    return SD_OK;
}

static sd_status top(const pickle_machine *m, uint32_t *index)
{
    if (m->n_stack == 0)
        return sd_pickle_bad(m, "the stack is empty");
    *index = m->stack[m->n_stack - 1];
    return SD_OK;
}

static sd_status append(pickle_machine *m, uint32_t to, uint32_t item)
{
    pickle_value *v = &m->values[to];
    sd_status st;

    SD_TRY(st, sd_pickle_grow(m, &v->items, sizeof *v->items, v->count, &v->capacity));
    v->items[v->count++] = item;
out:
    return st;
}

/* ---- bytes of the pickle ---- */

static sd_status take(pickle_machine *m, uint64_t count, const uint8_t **out)
{
    if (count > m->size - m->at)
        return sd_pickle_bad(m, "it ends in the middle of this");
    *out = m->bytes + m->at;
    m->at += count;
    return SD_OK;
}

static sd_status take_uint(pickle_machine *m, int bytes, uint64_t *out)
{
    const uint8_t *b = NULL;
    sd_status st;

    SD_TRY(st, take(m, (uint64_t)bytes, &b));
    *out = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *out = *out << 8 | b[i];
out:
    return st;
}

/* Two's complement of `bytes` bytes; none is 0. */
static sd_status take_int(pickle_machine *m, int bytes, int64_t *out)
{
    uint64_t raw = 0;
    sd_status st;

    SD_TRY(st, take_uint(m, bytes, &raw));
    if (bytes > 0 && bytes < 8 && raw >> (8 * bytes - 1) != 0)
        raw |= ~(uint64_t)0 << (8 * bytes);
    memcpy(out, &raw, sizeof raw);
out:
    return st;
}

static sd_status take_line(pickle_machine *m, const uint8_t **text, uint32_t *length)
{
    const uint8_t *end = memchr(m->bytes + m->at, '\n', m->size - m->at);

    if (end == NULL || end - (m->bytes + m->at) > 4096)
        return sd_pickle_bad(m, "a name has no end");
    *text = m->bytes + m->at;
    *length = (uint32_t)(end - *text);
    m->at += *length + 1u;
    return SD_OK;
}

/* ---- objects ---- */

/* Where what was put on the stack since the last mark begins. */
static sd_status pop_to_mark(pickle_machine *m, uint32_t *first)
{
    for (uint32_t i = m->n_stack; i > 0; i--)
        if (m->values[m->stack[i - 1]].kind == MARK) {
            *first = i;
            return SD_OK;
        }
    return sd_pickle_bad(m, "no mark on the stack");
}

static sd_status make_tuple(pickle_machine *m, uint32_t first, uint32_t drop)
{
    pickle_value v = {.kind = TUPLE, .count = m->n_stack - first, .capacity = m->n_stack - first};
    sd_status st;

    SD_TRY(st, SD_NEW(&v.items, v.count));
    if (v.count > 0)
        memcpy(v.items, m->stack + first, v.count * sizeof *v.items);
    m->n_stack = first - drop;
    st = sd_pickle_push_new(m, v);
out:
    return st;
}

/* Items above `first` go to the object below (and below the mark, of `drop` entries). */
static sd_status extend(pickle_machine *m, uint32_t first, uint32_t drop, pickle_kind want)
{
    uint32_t to;
    sd_status st = SD_OK;

    if (first < drop + 1)
        return sd_pickle_bad(m, "the stack is empty");
    to = m->stack[first - drop - 1];
    if (m->values[to].kind != want || (want == DICT && (m->n_stack - first) % 2 != 0))
        return sd_pickle_bad(m, "items for something that is no list or dictionary");
    for (uint32_t i = first; i < m->n_stack; i++)
        SD_TRY(st, append(m, to, m->stack[i]));
    m->n_stack = first - drop;
out:
    return st;
}

static sd_status memo_put(pickle_machine *m, uint64_t slot)
{
    uint32_t index = 0;
    sd_status st;

    SD_TRY(st, top(m, &index));
    if (slot >= VALUES_MOST) {
        st = sd_pickle_bad(m, "more objects than any checkpoint has");
        goto out;
    }
    while (m->n_memo <= slot) {
        SD_TRY(st, sd_pickle_grow(m, &m->memo, sizeof *m->memo, m->n_memo, &m->capacity_memo));
        m->memo[m->n_memo++] = UINT32_MAX;
    }
    m->memo[slot] = index;
out:
    return st;
}

static sd_status memo_get(pickle_machine *m, uint64_t slot)
{
    if (slot >= m->n_memo || m->memo[slot] == UINT32_MAX)
        return sd_pickle_bad(m, "an object that was not remembered");
    return sd_pickle_push(m, m->memo[slot]);
}

static sd_status push_text(pickle_machine *m, int length_bytes)
{
    pickle_value v = {.kind = TEXT};
    uint64_t length = 0;
    sd_status st;

    SD_TRY(st, take_uint(m, length_bytes, &length));
    if (length > UINT32_MAX) {
        st = sd_pickle_bad(m, "a text longer than any name");
        goto out;
    }
    SD_TRY(st, take(m, length, &v.text));
    v.length = (uint32_t)length;
    st = sd_pickle_push_new(m, v);
out:
    return st;
}

static sd_status push_int(pickle_machine *m, int bytes, bool is_signed)
{
    pickle_value v = {.kind = NUMBER};
    uint64_t raw = 0;
    sd_status st;

    if (is_signed) {
        SD_TRY(st, take_int(m, bytes, &v.number));
    } else {
        SD_TRY(st, take_uint(m, bytes, &raw));
        v.number = (int64_t)raw;
    }
    st = sd_pickle_push_new(m, v);
out:
    return st;
}

static sd_status op_global(pickle_machine *m)
{
    const uint8_t *module = NULL, *name = NULL;
    uint32_t module_length = 0, length = 0;
    sd_status st;

    SD_TRY(st, take_line(m, &module, &module_length));
    SD_TRY(st, take_line(m, &name, &length));
    st = sd_pickle_push_global(m, module, module_length, name, length);
out:
    return st;
}

static sd_status op_stack_global(pickle_machine *m)
{
    uint32_t module = 0, name = 0;
    sd_status st;

    SD_TRY(st, pop(m, &name));
    SD_TRY(st, pop(m, &module));
    if (m->values[module].kind != TEXT || m->values[name].kind != TEXT) {
        st = sd_pickle_bad(m, "an object without a name");
        goto out;
    }
    st = sd_pickle_push_global(m, m->values[module].text, m->values[module].length, m->values[name].text, m->values[name].length);
out:
    return st;
}

static sd_status op_long(pickle_machine *m)
{
    uint64_t length = 0;
    sd_status st;

    SD_TRY(st, take_uint(m, 1, &length));
    if (length > 8)
        st = sd_pickle_bad(m, "a number beyond 64 bits");
    else
        st = push_int(m, (int)length, true);
out:
    return st;
}

static sd_status op_call(pickle_machine *m)
{
    uint32_t callee_index = 0, args = 0;
    sd_status st;

    SD_TRY(st, pop(m, &args));
    SD_TRY(st, pop(m, &callee_index));
    st = sd_pickle_call(m, callee_index, args);
out:
    return st;
}

static sd_status op_tuple(pickle_machine *m, uint32_t count)
{
    if (m->n_stack < count)
        return sd_pickle_bad(m, "the stack is empty");
    return make_tuple(m, m->n_stack - count, 0);
}

static sd_status op_marked(pickle_machine *m, int op)
{
    uint32_t first = 0;
    sd_status st;

    SD_TRY(st, pop_to_mark(m, &first));
    if (op == 't')
        st = make_tuple(m, first, 1);
    else
        st = extend(m, first, 1, op == 'e' ? LIST : DICT);
out:
    return st;
}

static sd_status op_unmarked(pickle_machine *m, uint32_t count, pickle_kind want)
{
    if (m->n_stack < count)
        return sd_pickle_bad(m, "the stack is empty");
    return extend(m, m->n_stack - count, 0, want);
}

static sd_status step(pickle_machine *m, int op)
{
    const uint8_t *skipped;
    uint64_t n = 0;
    uint32_t index = 0;
    sd_status st;

    switch (op) {
    case 0x80: /* PROTO */
        return take(m, 1, &skipped);
    case 0x95: /* FRAME */
        return take(m, 8, &skipped);
    case 'c':
        return op_global(m);
    case 0x93:
        return op_stack_global(m);
    case 'q':
    case 'r':
        SD_TRY(st, take_uint(m, op == 'q' ? 1 : 4, &n));
        return memo_put(m, n);
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->n_memo);
    case 'h':
    case 'j':
        SD_TRY(st, take_uint(m, op == 'h' ? 1 : 4, &n));
        return memo_get(m, n);
    case '(':
        return sd_pickle_push_new(m, (pickle_value){.kind = MARK});
    case ')':
        return op_tuple(m, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        return op_tuple(m, (uint32_t)op - 0x84);
    case 't':
    case 'e':
    case 'u':
        return op_marked(m, op);
    case 'a':
        return op_unmarked(m, 1, LIST);
    case 's':
        return op_unmarked(m, 2, DICT);
    case '}':
        return sd_pickle_push_new(m, (pickle_value){.kind = DICT});
    case ']':
        return sd_pickle_push_new(m, (pickle_value){.kind = LIST});
    case 'X':
        return push_text(m, 4);
    case 0x8c: /* SHORT_BINUNICODE */
        return push_text(m, 1);
    case 'J':
        return push_int(m, 4, true);
    case 'K':
        return push_int(m, 1, false);
    case 'M':
        return push_int(m, 2, false);
    case 0x8a:
        return op_long(m);
    case 'G': /* a double: no tensor needs one */
        SD_TRY(st, take(m, 8, &skipped));
        return sd_pickle_push_new(m, (pickle_value){.kind = NONE});
    case 'N':
        return sd_pickle_push_new(m, (pickle_value){.kind = NONE});
    case 0x88:
    case 0x89:
        return sd_pickle_push_new(m, (pickle_value){.kind = NUMBER, .number = op == 0x88});
    case 'Q':
        SD_TRY(st, pop(m, &index));
        return sd_pickle_persistent(m, index);
    case 'R':
    case 0x81: /* NEWOBJ */
        return op_call(m);
    case 'b': /* BUILD: attributes of an object; the object stays */
        return pop(m, &index);
    default:
        return SD_FAIL(SD_E_DATA, "%s: byte %llu of its pickle: operation 0x%02x, which PyTorch does not write", m->name,
                       (unsigned long long)m->op, (unsigned)op);
    }
out:
    return st;
}

void sd_pickle_free(sd_pickle_tensor **tensors, uint64_t count)
{
    for (uint64_t i = 0; *tensors != NULL && i < count; i++) {
        sd_free((*tensors)[i].name);
        sd_free((*tensors)[i].key);
    }
    sd_free(*tensors);
    *tensors = NULL;
}

sd_status sd_pickle_read(const char *name, const uint8_t *bytes, uint64_t size, sd_pickle_tensor **tensors, uint64_t *count)
{
    pickle_machine m = {.name = name, .bytes = bytes, .size = size};
    uint32_t root = 0;
    sd_status st = SD_OK;

    for (;;) {
        m.op = m.at;
        if (m.at == size) {
            st = sd_pickle_bad(&m, "it ends without its last operation");
            goto out;
        }
        if (bytes[m.at] == '.')
            break;
        SD_TRY(st, step(&m, bytes[m.at++]));
    }
    SD_TRY(st, pop(&m, &root));
    st = sd_pickle_tensors(&m, root, tensors, count);
out:
    for (uint32_t i = 0; i < m.n_values; i++)
        sd_free(m.values[i].items);
    sd_free(m.values);
    sd_free(m.stack);
    sd_free(m.memo);
    return st;
}
