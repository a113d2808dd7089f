/* The head of an ordinary request, read without h11. The specification is head.py. */

#include "head.h"

#include <stdbool.h>
#include <string.h>

enum { SHORT_NAME = 64 }; /* longer names are left to h11; none that is registered is longer */

static bool
is_visible(char byte)
{
    return byte > ' ' && byte < 0x7f;
}

static char
lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

static bool
is_in_names(char byte)
{
    char letter = lower(byte);
    return (letter >= 'a' && letter <= 'z') || (byte >= '0' && byte <= '9') || byte == '-';
}

static bool
equals(const char *name, size_t size, const char *other)
{
    return size == strlen(other) && memcmp(name, other, size) == 0;
}

static const char *
skip_target(const char *at, const char *end)
{
    while (at < end && is_visible(*at) && *at != '#')
        at++;
    return at;
}

/* One line of a field: its name in lower case, its value, and where the next line begins. */
typedef struct {
    const char *value, *value_end, *next;
    char name[SHORT_NAME];
    size_t name_size;
} field_line;

static bool
read_field(const char *at, const char *end, field_line *line)
{
    size_t size = 0;
    while (at < end && is_in_names(*at)) {
        if (size == SHORT_NAME)
            return false;
        line->name[size++] = lower(*at++);
    }
    if (!size || at == end || *at++ != ':')
        return false;
    if (at < end && *at == ' ')
        at++;
    line->name_size = size;
    line->value = at;
    while (at < end && *at >= ' ' && *at < 0x7f)
        at++;
    line->value_end = at;
    line->next = at + 2;
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n' && at > line->value &&
           is_visible(line->value[0]) && is_visible(at[-1]);
}

static PyObject *
as_pair(const field_line *line)
{
    PyObject *name = PyUnicode_FromStringAndSize(line->name, (Py_ssize_t)line->name_size);
    PyObject *value = PyUnicode_FromStringAndSize(line->value, line->value_end - line->value);
    PyObject *pair = name && value ? PyTuple_Pack(2, name, value) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(value);
    return pair;
}

/* The fields from `at` to the empty line at the end of the head, as a list. */
static PyObject *
read_fields(const char *at, const char *end)
{
    int hosts = 0;
    PyObject *fields = PyList_New(0);
    while (fields && end - at > 2) {
        field_line line;
        if (!read_field(at, end, &line) || equals(line.name, line.name_size, "content-length") ||
            equals(line.name, line.name_size, "transfer-encoding")) {
            Py_DECREF(fields);
            Py_RETURN_NONE;
        }
        hosts += equals(line.name, line.name_size, "host");
        PyObject *pair = as_pair(&line);
        if (!pair || PyList_Append(fields, pair) < 0)
            Py_CLEAR(fields);
        Py_XDECREF(pair);
        at = line.next;
    }
    if (!fields || (hosts == 1 && end - at == 2 && at[0] == '\r' && at[1] == '\n'))
        return fields;
    Py_DECREF(fields);
    Py_RETURN_NONE;
}

PyObject *
sono_ordinary_head(const char *head, size_t size)
{
    static const char method[] = "GET ", version[] = " HTTP/1.1\r\n";
    const char *end = head + size, *target = head + sizeof method - 1;
    if (size < sizeof method || memcmp(head, method, sizeof method - 1) != 0 || *target != '/')
        Py_RETURN_NONE;
    const char *after = skip_target(target, end);
    const size_t rest = sizeof version - 1;
    if ((size_t)(end - after) < rest || memcmp(after, version, rest) != 0)
        Py_RETURN_NONE;
    PyObject *fields = read_fields(after + rest, end);
    if (!fields || fields == Py_None)
        return fields;
    PyObject *found = PyTuple_New(2);
    PyObject *path = PyUnicode_FromStringAndSize(target, after - target);
    PyObject *pairs = PyList_AsTuple(fields);
    Py_DECREF(fields);
    if (found && path && pairs) {
        PyTuple_SET_ITEM(found, 0, path);
        PyTuple_SET_ITEM(found, 1, pairs);
        return found;
    }
    Py_XDECREF(found);
    Py_XDECREF(path);
    Py_XDECREF(pairs);
    return NULL;
}
