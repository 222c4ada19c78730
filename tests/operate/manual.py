#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""manual.py MAN MAP,PAGE... -- PROGRAM...: what the programs say of themselves with --help, their manual pages say as
well: each option, and each key of a device type, wherever in the page; and each public function has its place in a page
of the library's.
"""
import os
import re
import subprocess
import sys

OPTION = re.compile(r'^  (?:-\w, )?--([a-z-]+)', re.M)
TYPE = re.compile(r'^  ([a-z-]+): ', re.M)
KEY = re.compile(r'^    ([a-z][a-z0-9-]*)', re.M)
MAPPED = re.compile(r'^\t\t(vhx_\w+);$', re.M)


def read(path):
    with open(path, encoding='utf-8') as text:
        return text.read()


def named(page, macros, word):
    """Is there a line of one of these macros with the word in it, as a word of its own?"""
    pattern = r'\b(?:%s)\b.*(?<![\w-])%s(?![\w-])' % (macros, re.escape(word))
    return re.search(pattern, page, re.M) is not None


def program_lacks(program, folder):
    said = subprocess.run([program, '--help'], check=True, capture_output=True, text=True).stdout
    page = read(os.path.join(folder, os.path.basename(program) + '.1'))
    options, _, devices = said.partition('\nDevices')
    names = OPTION.findall(options)
    assert names, '%s has no option' % program
    for name in names:
        if not named(page, 'Fl', '-' + name):
            yield '--' + name
    kinds = TYPE.split(devices)[1:]
    for kind, text in zip(kinds[::2], kinds[1::2]):
        for key in KEY.findall(text):
            if not named(page, 'Cm', key):
                yield '%s: %s' % (kind, key)


def library_lacks(pair, folder):
    version_map, page = pair.split(',')
    text = ''.join(read(os.path.join(folder, p)) for p in page.split('+'))
    functions = MAPPED.findall(read(version_map))
    assert functions, '%s names no function' % version_map
    return [f for f in functions if not named(text, 'Fn|Fo', f)]


def main(folder, words):
    split = words.index('--')
    lacks = 0
    for pair in words[:split]:
        for name in library_lacks(pair, folder):
            print('%s is in no page of %s' % (name, pair.split(',')[1]))
            lacks += 1
    for program in words[split + 1:]:
        for name in program_lacks(program, folder):
            print('%s.1 lacks %s' % (os.path.basename(program), name))
            lacks += 1
    print('%d programs, %d libraries, %d gaps' % (len(words) - split - 1, split, lacks))
    return 1 if lacks else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
