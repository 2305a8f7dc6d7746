"""The guide's example statements, as it prints them, slips included."""

from policy.model import PolicyKind

ACTION = 'AWS::SSM::Action::"getTokenForInstanceAccess"'

ENGINEERING = """\
// Allows users in the Engineering group from the Platform org to automatically connect to nodes tagged with
// Engineering and Production keys.
permit (
    principal in AWS::IdentityStore::Group::"d4q81745-r081-7079-d789-14da1EXAMPLE",
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    principal has organization && resource.hasTag("Engineering") && resource.hasTag("Production") &&
    principal.organization == "Platform"
};
"""

DEVELOPMENT = """\
permit(principal, action == AWS::SSM::getTokenForInstanceAccess, resource)
when {
    resource.hasTag("Environment") &&
    resource.getTag("Environment") == "Development"
};
"""

NO_SEMICOLON = """\
permit (
    principal,
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    principal has employeeNumber && principal.employeeNumber like "E-1*" && resource.hasTag("Purpose") &&
    resource.getTag("Purpose") == "Testing"
}
"""

ELEVATED = """\
permit(principal, action == AWS::SSM::getTokenForInstanceAccess, resource)
when {
    // Verify IAM role principal tag
    context.iam.principalTags.getTag("AccessLevel") == "Elevated" &&
    // Verify the node has a tag with "Environment" tag key and a tag value of "prod"
    resource.hasTag("Environment") &&
    resource.getTag("Environment") == "prod"
};
"""

CONTRACTOR = """\
permit(principal, action == AWS::SSM::getTokenForInstanceAccess, resource)
when {
    // Verify that the user is part of the "Contractor" division
    principal.division == "Contractor" &&
    resource.hasTag("Environment") &&
    resource.getTag("Environment") == "dev"
};
"""

GROUP = """\
permit(principal in AWS::IdentityStore::Group::"d4q81745-r081-7079-d789-14da1EXAMPLE",
    action == AWS::SSM::getTokenForInstanceAccess, resource)
when {
    resource.hasTag("Environment") &&
    resource.getTag("Environment") == "Production"
};
"""

COST_CENTER = """\
permit (
    principal in AWS::IdentityStore::Group::"e8c17310-e011-7089-d989-10da1EXAMPLE",
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    principal has costCenter && resource.hasTag("CostCenter") &&
    principal.costCenter == resource.getTag("CostCenter")
};
"""

TESTING = NO_SEMICOLON.rstrip() + ";\n"

DENY = """\
forbid (
    principal in AWS::IdentityStore::Group::"e8c17310-e011-7089-d989-10da1EXAMPLE",
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    resource.hasTag("Environment") && resource.getTag("Environment") == "Production"
};

forbid (
    principal,
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    principal has division && principal.division != "Finance" && resource.hasTag("DataClassification") &&
    resource.getTag("DataClassification") == "Financial"
};

forbid (
    principal,
    action == AWS::SSM::Action::"getTokenForInstanceAccess",
    resource
)
when {
    principal has employeeNumber && principal.employeeNumber like "TEMP-*" && resource.hasTag("Criticality") &&
    resource.getTag("Criticality") == "High"
};
"""

ACCEPTED = {
    "engineering": (PolicyKind.AUTO, ENGINEERING),
    "cost center": (PolicyKind.AUTO, COST_CENTER),
    "testing": (PolicyKind.AUTO, TESTING),
    "auto-approval policy": (PolicyKind.AUTO, COST_CENTER + ENGINEERING + TESTING),
    "deny-access policy": (PolicyKind.DENY, DENY),
}

REFUSED = {
    "development": (PolicyKind.AUTO, DEVELOPMENT),
    "no semicolon": (PolicyKind.AUTO, NO_SEMICOLON),
    "elevated": (PolicyKind.AUTO, ELEVATED),
    "contractor": (PolicyKind.AUTO, CONTRACTOR),
    "group": (PolicyKind.AUTO, GROUP),
    "all of them": (PolicyKind.AUTO, ELEVATED + CONTRACTOR + GROUP + DEVELOPMENT + NO_SEMICOLON),
}
