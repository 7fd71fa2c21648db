/* The values of a page, by encoding. */
#include <string.h>

#include "parquet.h"

static uint64_t read_le(const uint8_t *bytes, uint64_t count)
{
    uint64_t value = 0;

    for (uint64_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* The value of these bytes. */
static pq_value value_of(pq_type type, const uint8_t *bytes, uint64_t width)
{
    pq_value value = {.bytes = bytes, .length = width};

    if (type == PQ_INT32)
        value.bits = (uint64_t)(int64_t)(int32_t)(uint32_t)read_le(bytes, 4);
    else if (type == PQ_INT64 || type == PQ_FLOAT || type == PQ_DOUBLE)
        value.bits = read_le(bytes, width);
    return value;
}

static uint64_t width_of(const pq_node *node)
{
    static const uint64_t width[PQ_TYPES] = {
        [PQ_INT32] = 4, [PQ_INT64] = 8, [PQ_INT96] = 12, [PQ_FLOAT] = 4, [PQ_DOUBLE] = 8};

    return node->type == PQ_FIXED ? node->length : width[node->type];
}

static bool is_whole(pq_type type)
{
    return type == PQ_INT32 || type == PQ_INT64;
}

static const char wrong_numbers[] = "the numbers packed by differences are damaged";
static const char wrong_encoding[] = "its encoding does not apply to the column's type";
static const char used_up[] = "it has fewer values than it should";

/* Reads the lengths, which come first, and finds where the bytes begin. */
static const char *begin_lengths(pq_values *v, pq_delta *lengths)
{
    const uint8_t *end;

    if (!pq_delta_begin(lengths, v->at, (uint64_t)(v->end - v->at)))
        return wrong_numbers;
    end = pq_delta_end(*lengths);
    if (end == NULL)
        return wrong_numbers;
    v->at = end;
    return NULL;
}

static const char *begin_booleans(pq_values *v)
{
    uint64_t size = (uint64_t)(v->end - v->at);

    if (size < 4 || read_le(v->at, 4) > size - 4)
        return "the length of its booleans is wrong";
    pq_runs_begin(&v->runs, v->at + 4, read_le(v->at, 4), 1);
    return NULL;
}

const char *pq_values_begin(pq_values *v, const pq_node *node, pq_encoding encoding, const uint8_t *data, uint64_t size)
{
    const char *wrong = NULL;

    v->encoding = encoding;
    v->type = node->type;
    v->width = width_of(node);
    v->begin = v->at = data;
    v->end = data + size;
    v->done = 0;
    v->text.length = 0;
    switch (encoding) {
    case PQ_PLAIN:
        return NULL;
    case PQ_PLAIN_DICTIONARY:
    case PQ_RLE_DICTIONARY:
        if (v->dictionary == NULL)
            return "its dictionary is missing";
        if (size > 0 && data[0] > 32)
            return "an index into the dictionary has more than 32 bits";
        pq_runs_begin(&v->runs, size > 0 ? data + 1 : data, size > 0 ? size - 1 : 0, size > 0 ? data[0] : 0);
        return NULL;
    case PQ_RLE:
        return v->type != PQ_BOOLEAN ? wrong_encoding : size == 0 ? NULL : begin_booleans(v);
    case PQ_DELTA_BINARY_PACKED:
        if (!is_whole(v->type))
            return wrong_encoding;
        return size == 0 || pq_delta_begin(&v->numbers, data, size) ? NULL : wrong_numbers;
    case PQ_DELTA_LENGTH_BYTE_ARRAY:
        return v->type != PQ_BYTES ? wrong_encoding : size == 0 ? NULL : begin_lengths(v, &v->lengths);
    case PQ_DELTA_BYTE_ARRAY:
        if (v->type != PQ_BYTES && v->type != PQ_FIXED)
            return wrong_encoding;
        if (size > 0)
            wrong = begin_lengths(v, &v->numbers);
        return wrong != NULL || size == 0 ? wrong : begin_lengths(v, &v->lengths);
    case PQ_BYTE_STREAM_SPLIT:
        if (v->width == 0 || v->type == PQ_INT96)
            return wrong_encoding;
        return size % v->width == 0 ? NULL : "its size is not a multiple of the size of a value";
    case PQ_BIT_PACKED:
    case PQ_ENCODINGS:
        break;
    }
    return "its encoding is not supported";
}

static const char *next_plain(pq_values *v, pq_value *value)
{
    uint64_t left = (uint64_t)(v->end - v->at), width = v->width;

    if (v->type == PQ_BOOLEAN) {
        if (v->done / 8 >= left)
            return used_up;
        value->bits = (uint64_t)v->at[v->done / 8] >> (v->done & 7) & 1u;
        return NULL;
    }
    if (v->type == PQ_BYTES) {
        if (left < 4)
            return used_up;
        width = read_le(v->at, 4);
        v->at += 4;
        left -= 4;
    }
    if (width > left)
        return v->type == PQ_BYTES ? "a value is longer than the page" : used_up;
    *value = value_of(v->type, v->at, width);
    v->at += width;
    return NULL;
}

static const char *next_indexed(pq_values *v, pq_value *value)
{
    uint32_t index;

    if (!pq_runs_next(&v->runs, &index))
        return used_up;
    if (index >= v->n_dictionary)
        return "an index is beyond the dictionary";
    *value = v->dictionary[index];
    return NULL;
}

/* Bytes of the next length of `lengths`. */
static const char *next_bytes(pq_values *v, const uint8_t **bytes, uint64_t *length)
{
    int64_t n;

    if (!pq_delta_next(&v->lengths, &n))
        return used_up;
    if (n < 0 || (uint64_t)n > (uint64_t)(v->end - v->at))
        return "a value is longer than the page";
    *bytes = v->at;
    *length = (uint64_t)n;
    v->at += n;
    return NULL;
}

/* A prefix of the previous value, and more bytes. */
static const char *next_continued(pq_values *v, pq_value *value)
{
    const uint8_t *bytes = NULL;
    const char *wrong;
    uint64_t length = 0;
    int64_t prefix;

    if (!pq_delta_next(&v->numbers, &prefix))
        return used_up;
    if (prefix < 0 || (uint64_t)prefix > v->text.length)
        return "a value shares a longer prefix with the previous value than that has";
    wrong = next_bytes(v, &bytes, &length);
    if (wrong != NULL)
        return wrong;
    v->text.length = (uint64_t)prefix;
    sd_str_add_bytes(&v->text, bytes, length);
    if (v->text.status != SD_OK)
        return "out of memory for one of its values";
    *value = (pq_value){.bytes = (const uint8_t *)v->text.text, .length = v->text.length};
    return v->type == PQ_FIXED && value->length != v->width ? "the length of a value differs from that of the column" : NULL;
}

/* Byte k of every value is in the k-th part of the page. */
static const char *next_split(pq_values *v, pq_value *value)
{
    uint64_t count = (uint64_t)(v->end - v->begin) / v->width;

    if (v->done >= count)
        return used_up;
    v->text.length = 0;
    for (uint64_t i = 0; i < v->width; i++)
        sd_str_add_bytes(&v->text, v->begin + i * count + v->done, 1);
    if (v->text.status != SD_OK)
        return "out of memory for one of its values";
    *value = value_of(v->type, (const uint8_t *)v->text.text, v->width);
    return NULL;
}

const char *pq_values_next(pq_values *v, pq_value *value)
{
    const char *wrong = NULL;
    uint32_t bit;
    int64_t number;

    *value = (pq_value){0};
    switch (v->encoding) {
    case PQ_PLAIN:
        wrong = next_plain(v, value);
        break;
    case PQ_PLAIN_DICTIONARY:
    case PQ_RLE_DICTIONARY:
        wrong = next_indexed(v, value);
        break;
    case PQ_RLE:
        if (v->begin == v->end || !pq_runs_next(&v->runs, &bit))
            return used_up;
        value->bits = bit;
        break;
    case PQ_DELTA_BINARY_PACKED:
        if (v->begin == v->end || !pq_delta_next(&v->numbers, &number))
            return used_up;
        value->bits = v->type == PQ_INT32 ? (uint64_t)(int64_t)(int32_t)(uint32_t)(uint64_t)number : (uint64_t)number;
        break;
    case PQ_DELTA_LENGTH_BYTE_ARRAY:
        wrong = v->begin == v->end ? used_up : next_bytes(v, &value->bytes, &value->length);
        break;
    case PQ_DELTA_BYTE_ARRAY:
        wrong = v->begin == v->end ? used_up : next_continued(v, value);
        break;
    case PQ_BYTE_STREAM_SPLIT:
        wrong = next_split(v, value);
        break;
    case PQ_BIT_PACKED:
    case PQ_ENCODINGS:
        wrong = used_up;
        break;
    }
    v->done++;
    return wrong;
}

void pq_values_free(pq_values *v)
{
    sd_str_free(&v->text);
}
