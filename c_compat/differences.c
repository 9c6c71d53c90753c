#include "differences.h"

#include <stdlib.h>
#include <string.h>

static void add(struct differences *differences, const char *title, const char *scenario,
                size_t length, const struct text *answer)
{
    size_t count = (size_t)differences->count++;
    differences->all = reallocarray(differences->all, count + 1, sizeof *differences->all);
    if (!differences->all)
        die("no memory for differences");
    struct difference *new = &differences->all[count];
    *new = (struct difference){.title = strdup(title), .scenario = strndup(scenario, length)};
    text_add(&new->answer, answer->bytes, answer->length);
    for (size_t i = 0; i < count; i++)
        if (strcmp(differences->all[i].scenario, new->scenario) == 0 &&
            strcmp(differences->all[i].title, new->title) != 0)
            die("%s stands in two sections of the differences", new->scenario);
}

void differences_read(struct differences *differences, const char *path)
{
    struct text file = {0}, line = {0}, title = {0}, names = {0}, answer = {0};
    if (!file_read(path, &file))
        die("%s cannot be read", path);
    const char *at = text_string(&file);
    bool in_block = false, has_prose = true, has_block = true;
    while (next_line(&at, &line)) {
        const char *text = text_string(&line);
        if (in_block && starts_with(text, "```")) {
            in_block = false;
            has_block = true;
            for (const char *name = text_string(&names); *name;) {
                size_t length = strcspn(name, " ");
                add(differences, text_string(&title), name, length, &answer);
                name += length + strspn(name + length, " ");
            }
        } else if (in_block) {
            text_print(&answer, "%s\n", text);
        } else if (starts_with(text, "```answers ")) {
            in_block = true;
            text_free(&names);
            text_free(&answer);
            text_print(&names, "%s", text + strlen("```answers "));
        } else if (starts_with(text, "## ")) {
            if (!has_prose || !has_block)
                die("%s: \"%s\" lacks its reason or its answer", path, text_string(&title));
            text_free(&title);
            text_print(&title, "%s", text + 3);
            has_prose = has_block = false;
            differences->section_count++;
        } else if (*text) {
            has_prose = true;
        }
    }
    if (in_block || !has_prose || !has_block)
        die("%s: \"%s\" is not complete", path, text_string(&title));
    text_free(&file);
    text_free(&line);
    text_free(&title);
    text_free(&names);
    text_free(&answer);
}

const struct difference *difference_of(const struct differences *differences, const char *scenario,
                                       const char *answer, bool *allows)
{
    const struct difference *found = NULL;
    for (int i = 0; i < differences->count; i++) {
        const struct difference *one = &differences->all[i];
        if (strcmp(one->scenario, scenario) != 0)
            continue;
        found = one;
        *allows = strcmp(text_string(&one->answer), answer) == 0;
        if (*allows)
            break;
    }
    return found;
}
